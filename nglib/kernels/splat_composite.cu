// Front-to-back compositing, a block for each tile of 16 x 16 pixels, a thread for each pixel; and its gradient.
// nglib/splat/composite.py is the specification, nglib/splat/response.py that of the three formulas.
// A splat is 13 numbers: mean (2), shape (4), peak, channels (4), reach (2). Tile i sees ids[starts[i]:starts[i + 1]].

constexpr int TILE = 16, AREA = TILE * TILE, SPLAT = 13, FIELDS = 11, CHANNELS = 4, GRADIENTS = 11;
constexpr int GAUSSIAN = 0, EXPONENTIAL = 1, INTEGRAL = 2;
constexpr int NEVER = 2147483647;
constexpr float ALPHA_MIN = 1.0f / 255.0f, ALPHA_MAX = 0.99f, T_MIN = 1e-4f, Q_MIN = 1e-12f, K1 = 1.6f, K3 = 0.07f;

// The logistic CDF at both sides of the pixel along one axis, x > y, and what it gains between them.
struct Window {
    float x, y, inverse, difference, slope_x, slope_y;
    __device__ Window(float u, float inverse) : x((u + 0.5f) * inverse), y((u - 0.5f) * inverse), inverse(inverse) {
        float ex = expf(fminf(fmaxf(x * (K1 + K3 * x * x), -20.0f), 20.0f)), fx = 1.0f / (1.0f + ex);
        float ey = expf(fminf(fmaxf(y * (K1 + K3 * y * y), -20.0f), 20.0f)), fy = 1.0f / (1.0f + ey);
        // F(x) - F(y) = F(x) (1 - F(y)) (1 - exp(-gap)), which keeps its digits.
        float gap = inverse * (K1 + K3 * (x * x + x * y + y * y));
        difference = ex * fx * fy * -expm1f(-gap);
        slope_x = (K1 + 3 * K3 * x * x) * ex * fx * fx;
        slope_y = (K1 + 3 * K3 * y * y) * ey * fy * fy;
    }
};

template <int FORMULA>
__device__ float value(const float* shape, float dx, float dy) {
    if (FORMULA == INTEGRAL)
        return Window(shape[0] * dx + shape[1] * dy, shape[2]).difference *
               Window(shape[0] * dy - shape[1] * dx, shape[3]).difference;
    float q = shape[0] * dx * dx + 2 * shape[1] * dx * dy + shape[2] * dy * dy;
    if (FORMULA == EXPONENTIAL) q = expf(0.5f * shape[3] * logf(fmaxf(q, Q_MIN)));
    return expf(-0.5f * q);
}

// Gradient of mean (2) and shape (4), from that of the value.
template <int FORMULA>
__device__ void value_gradient(const float* shape, float dx, float dy, float value, float g, float* grad) {
    if (FORMULA == INTEGRAL) {
        float u = shape[0] * dx + shape[1] * dy, v = shape[0] * dy - shape[1] * dx;
        Window along(u, shape[2]), across(v, shape[3]);
        float gu = g * across.difference, gv = g * along.difference;
        grad[4] = gu * (along.slope_x * (u + 0.5f) - along.slope_y * (u - 0.5f));
        grad[5] = gv * (across.slope_x * (v + 0.5f) - across.slope_y * (v - 0.5f));
        gu *= shape[2] * (along.slope_x - along.slope_y);
        gv *= shape[3] * (across.slope_x - across.slope_y);
        grad[0] = shape[1] * gv - shape[0] * gu;
        grad[1] = -shape[1] * gu - shape[0] * gv;
        grad[2] = gu * dx + gv * dy;
        grad[3] = gu * dy - gv * dx;
        return;
    }
    float gq = -0.5f * value * g;
    grad[5] = 0.0f;
    if (FORMULA == EXPONENTIAL) {
        float q = shape[0] * dx * dx + 2 * shape[1] * dx * dy + shape[2] * dy * dy, log_q = logf(fmaxf(q, Q_MIN));
        gq *= expf(0.5f * shape[3] * log_q);
        grad[5] = gq * 0.5f * log_q;
        gq = q > Q_MIN ? gq * 0.5f * shape[3] / q : 0.0f;
    }
    grad[0] = -2 * gq * (shape[0] * dx + shape[1] * dy);
    grad[1] = -2 * gq * (shape[1] * dx + shape[2] * dy);
    grad[2] = gq * dx * dx;
    grad[3] = 2 * gq * dx * dy;
    grad[4] = gq * dy * dy;
}

__device__ bool in_image(int x, int y, int width, int height) { return x < width && y < height; }

template <int FORMULA>
__device__ void forward(
    const float* splats, const int* ids, const int* starts, float* out, float* through, int* stop, int width, int height) {
    __shared__ float batch[AREA][FIELDS];
    int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    int thread = threadIdx.y * TILE + threadIdx.x, tile = blockIdx.y * gridDim.x + blockIdx.x;
    int end = NEVER;
    bool done = !in_image(x, y, width, height);
    float T = 1.0f, total[CHANNELS] = {};
    for (int first = starts[tile]; first < starts[tile + 1]; first += AREA) {
        if (__syncthreads_and(done)) break;
        int count = min(AREA, starts[tile + 1] - first);
        if (thread < count)
            for (int f = 0; f < FIELDS; ++f) batch[thread][f] = splats[SPLAT * (long long)ids[first + thread] + f];
        __syncthreads();
        for (int k = 0; k < count && !done; ++k) {
            const float* splat = batch[k];
            float dx = x + 0.5f - splat[0], dy = y + 0.5f - splat[1];
            float alpha = splat[6] * value<FORMULA>(splat + 2, dx, dy);
            if (!(alpha >= ALPHA_MIN)) continue;
            alpha = fminf(alpha, ALPHA_MAX);
            float after = T * (1.0f - alpha);
            if (after < T_MIN) {
                done = true;
                end = first + k;
                break;
            }
            for (int c = 0; c < CHANNELS; ++c) total[c] += alpha * T * splat[7 + c];
            T = after;
        }
    }
    if (!in_image(x, y, width, height)) return;
    int pixel = y * width + x;
    through[pixel] = T;
    stop[pixel] = end;
    for (int c = 0; c < CHANNELS; ++c) out[CHANNELS * pixel + c] = total[c];
}

// Sums 16 numbers of each lane over the warp; lane l returns the sum of number l / 2. Each step hands half of the numbers
// that are left to the lane across, so that 16 shuffles do what 16 separate reductions need 80 for.
__device__ float warp_sums(float* numbers) {
    int lane = (threadIdx.y * blockDim.x + threadIdx.x) % 32;
    for (int half = 8; half > 0; half /= 2) {
        bool upper = lane & (2 * half);
        for (int i = 0; i < half; ++i) {
            float keep = upper ? numbers[i + half] : numbers[i], give = upper ? numbers[i] : numbers[i + half];
            numbers[i] = keep + __shfl_xor_sync(0xffffffffu, give, 2 * half);
        }
    }
    return numbers[0] + __shfl_xor_sync(0xffffffffu, numbers[0], 1);
}

// From the back: T_i = T_{i+1} / (1 - alpha_i), dL/dalpha_i = T_i (c_i . g) - S / (1 - alpha_i), where S, the loss's share
// of what lies behind, starts at T_end dL/dT_end and grows by w_i (c_i . g).
template <int FORMULA>
__device__ void backward(
    const float* splats, const int* ids, const int* starts, const float* through, const int* stop, const float* g_out,
    const float* g_through, float* grads, int width, int height) {
    __shared__ float batch[AREA][FIELDS];
    __shared__ int batch_ids[AREA];
    __shared__ int block_end;
    int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    int thread = threadIdx.y * TILE + threadIdx.x, tile = blockIdx.y * gridDim.x + blockIdx.x;
    int start = starts[tile], end = start, pixel = y * width + x;
    float T = 1.0f, behind = 0.0f, g[CHANNELS] = {};
    if (in_image(x, y, width, height)) {
        end = min(stop[pixel], starts[tile + 1]);
        T = through[pixel];
        behind = T * g_through[pixel];
        for (int c = 0; c < CHANNELS; ++c) g[c] = g_out[CHANNELS * pixel + c];
    }
    if (thread == 0) block_end = start;
    __syncthreads();
    atomicMax(&block_end, end);
    __syncthreads();
    for (int last = block_end; last > start; last -= AREA) {
        int count = min(AREA, last - start);
        __syncthreads();
        if (thread < count) {
            batch_ids[thread] = ids[last - 1 - thread];
            for (int f = 0; f < FIELDS; ++f) batch[thread][f] = splats[SPLAT * (long long)batch_ids[thread] + f];
        }
        __syncthreads();
        for (int k = 0; k < count; ++k) {
            const float* splat = batch[k];
            float dx = x + 0.5f - splat[0], dy = y + 0.5f - splat[1], sums[16] = {};
            float v = last - 1 - k < end ? value<FORMULA>(splat + 2, dx, dy) : 0.0f, raw = splat[6] * v;
            bool hit = raw >= ALPHA_MIN;
            if (!__any_sync(0xffffffffu, hit)) continue;
            if (hit) {
                float alpha = fminf(raw, ALPHA_MAX), left = 1.0f / (1.0f - alpha), cg = 0.0f;
                T *= left;
                for (int c = 0; c < CHANNELS; ++c) {
                    cg += splat[7 + c] * g[c];
                    sums[7 + c] = alpha * T * g[c];
                }
                float d_alpha = raw <= ALPHA_MAX ? T * cg - behind * left : 0.0f;
                behind += alpha * T * cg;
                sums[6] = d_alpha * v;
                value_gradient<FORMULA>(splat + 2, dx, dy, v, d_alpha * splat[6], sums);
            }
            float sum = warp_sums(sums);
            int lane = thread % 32;
            if (lane % 2 == 0 && lane / 2 < GRADIENTS)
                atomicAdd(&grads[GRADIENTS * (long long)batch_ids[k] + lane / 2], sum);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) forward_gaussian(
    const float* splats, const int* ids, const int* starts, float* out, float* through, int* stop, int width, int height) {
    forward<GAUSSIAN>(splats, ids, starts, out, through, stop, width, height);
}

extern "C" __global__ void __launch_bounds__(256) forward_exponential(
    const float* splats, const int* ids, const int* starts, float* out, float* through, int* stop, int width, int height) {
    forward<EXPONENTIAL>(splats, ids, starts, out, through, stop, width, height);
}

extern "C" __global__ void __launch_bounds__(256) forward_integral(
    const float* splats, const int* ids, const int* starts, float* out, float* through, int* stop, int width, int height) {
    forward<INTEGRAL>(splats, ids, starts, out, through, stop, width, height);
}

extern "C" __global__ void __launch_bounds__(256) backward_gaussian(
    const float* splats, const int* ids, const int* starts, const float* through, const int* stop, const float* g_out,
    const float* g_through, float* grads, int width, int height) {
    backward<GAUSSIAN>(splats, ids, starts, through, stop, g_out, g_through, grads, width, height);
}

extern "C" __global__ void __launch_bounds__(256) backward_exponential(
    const float* splats, const int* ids, const int* starts, const float* through, const int* stop, const float* g_out,
    const float* g_through, float* grads, int width, int height) {
    backward<EXPONENTIAL>(splats, ids, starts, through, stop, g_out, g_through, grads, width, height);
}

extern "C" __global__ void __launch_bounds__(256) backward_integral(
    const float* splats, const int* ids, const int* starts, const float* through, const int* stop, const float* g_out,
    const float* g_through, float* grads, int width, int height) {
    backward<INTEGRAL>(splats, ids, starts, through, stop, g_out, g_through, grads, width, height);
}
