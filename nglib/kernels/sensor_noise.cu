// Raw noise from photon to file, a thread for each 2 x 2 cell of the Bayer pattern (Wei et al., 2021):
// noisy = (K Poisson(I) + scale Q(u; lambda) + row + bias + rounding) ratio / white_level, with I = clean white_level / (ratio K).
// The chapter denoising/physics-based-noise holds the twin. Every draw is a function of seed, cell, stream and attempt
// (Philox 4x32-10; Salmon et al., 2011), so that frames do not depend on how threads are scheduled.

constexpr int PARAMETERS = 9;  // K, lambda, scale of Q, sigma of rows, bias of R, G1, B, G2, ratio
constexpr unsigned ROW_STREAM = 4;
constexpr int ATTEMPTS = 32;
constexpr float TWO_PI = 6.28318531f;

struct Draw { unsigned a, b, c, d; };

__device__ Draw philox(unsigned index, unsigned stream, unsigned attempt, long long seed) {
    unsigned a = index, b = stream, c = attempt, d = 0, low = (unsigned)seed, high = (unsigned)((unsigned long long)seed >> 32);
    for (int round = 0; round < 10; ++round) {
        unsigned long long first = 0xD2511F53ULL * a, second = 0xCD9E8D57ULL * c;
        a = (unsigned)(second >> 32) ^ b ^ low;
        c = (unsigned)(first >> 32) ^ d ^ high;
        b = (unsigned)second;
        d = (unsigned)first;
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return {a, b, c, d};
}

// Strictly between 0 and 1, and so is 1 - unit(bits), exactly.
__device__ float unit(unsigned bits) { return ((float)(bits >> 9) + 0.5f) * 1.1920929e-7f; }

__device__ float tukey_lambda(float u, float lambda) {
    float a = logf(u), b = logf(1.0f - u);
    return fabsf(lambda) < 1e-4f ? a - b : (expm1f(lambda * a) - expm1f(lambda * b)) / lambda;
}

// Inversion for small means; for large ones transformed rejection (PTRS; Hoermann, 1993).
__device__ float poisson(float mean, float u, unsigned index, unsigned stream, long long seed) {
    if (mean < 12.0f) {
        float k = 0.0f, p = expf(-mean), sum = p;
        while (u > sum && k < 100.0f) {
            k += 1.0f;
            p *= mean / k;
            sum += p;
        }
        return k;
    }
    float b = 0.931f + 2.53f * sqrtf(mean), a = -0.059f + 0.02483f * b;
    float inverse_alpha = 1.1239f + 1.1328f / (b - 3.4f), fast = 0.9277f - 3.6224f / (b - 2.0f);
    for (unsigned attempt = 1; attempt <= ATTEMPTS; ++attempt) {
        Draw draw = philox(index, stream, attempt, seed);
        float x = unit(draw.a) - 0.5f, v = unit(draw.b), edge = 0.5f - fabsf(x);
        float k = floorf((2.0f * a / edge + b) * x + mean + 0.43f);
        if (edge >= 0.07f && v <= fast) return k;
        if (k < 1.0f || (edge < 0.013f && v > edge)) continue;
        float log_p = k * logf(mean / k) + (k - mean) - 0.5f * logf(TWO_PI * k) - 1.0f / (12.0f * k);
        if (logf(v * inverse_alpha / (a / (edge * edge) + b)) <= log_p) return k;
    }
    return floorf(mean);
}

extern "C" __global__ void sensor_noise(
    const float* clean, const float* params, float* noisy, long long seed, float white_level, int height, int width) {
    int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, frame = blockIdx.z;
    if (j >= width) return;
    const float* p = params + frame * PARAMETERS;
    float gain = p[0], lambda = p[1], scale = p[2], ratio = p[8];
    unsigned line = frame * height + i, cell = line * width + j;
    // One pair of normals is the offsets of two sensor rows; every thread of the line draws the same pair.
    Draw draw = philox(line, ROW_STREAM, 0, seed);
    float radius = p[3] * sqrtf(-2.0f * logf(unit(draw.a))), angle = TWO_PI * unit(draw.b);
    float rows[2] = {radius * cosf(angle), radius * sinf(angle)};
    for (unsigned channel = 0; channel < 4; ++channel) {
        long long at = ((frame * 4LL + channel) * height + i) * width + j;
        draw = philox(cell, channel, 0, seed);
        float electrons = poisson(clean[at] * white_level / (ratio * gain), unit(draw.a), cell, channel, seed);
        float read = scale * tukey_lambda(unit(draw.b), lambda) + rows[channel / 2] + p[4 + channel];
        noisy[at] = (gain * electrons + read + unit(draw.c) - 0.5f) * ratio / white_level;
    }
}
