// Colours from spherical harmonics, one thread a Gaussian: nglib/splat/harmonics.py, fused, and its gradient.

__constant__ float C[16] = {
    0.28209479177387814f, -0.4886025119029199f, 0.4886025119029199f,  -0.4886025119029199f,
    1.0925484305920792f,  -1.0925484305920792f, 0.31539156525252005f, -1.0925484305920792f,
    0.5462742152960396f,  -0.5900435899266435f, 2.890611442640554f,   -0.4570457994644658f,
    0.3731763325901154f,  -0.4570457994644658f, 1.445305721320277f,   -0.5900435899266435f};

// The first k harmonics at the unit vector (x, y, z).
__device__ void basis(int k, float x, float y, float z, float* Y) {
    float xx = x * x, yy = y * y, zz = z * z;
    Y[0] = C[0];
    if (k > 1) Y[1] = C[1] * y, Y[2] = C[2] * z, Y[3] = C[3] * x;
    if (k > 4) {
        Y[4] = C[4] * x * y, Y[5] = C[5] * y * z, Y[6] = C[6] * (2 * zz - xx - yy), Y[7] = C[7] * x * z;
        Y[8] = C[8] * (xx - yy);
    }
    if (k > 9) {
        Y[9] = C[9] * y * (3 * xx - yy), Y[10] = C[10] * x * y * z, Y[11] = C[11] * y * (4 * zz - xx - yy);
        Y[12] = C[12] * z * (2 * zz - 3 * xx - 3 * yy), Y[13] = C[13] * x * (4 * zz - xx - yy);
        Y[14] = C[14] * z * (xx - yy), Y[15] = C[15] * x * (xx - 3 * yy);
    }
}

// Adds to g the gradient of sum_k h_k Y_k / C_k in x, y and z.
__device__ void basis_gradient(int k, float x, float y, float z, const float* h, float* g) {
    float xx = x * x, yy = y * y, zz = z * z;
    if (k > 1) g[0] += h[3], g[1] += h[1], g[2] += h[2];
    if (k > 4) {
        g[0] += h[4] * y - 2 * h[6] * x + h[7] * z + 2 * h[8] * x;
        g[1] += h[4] * x + h[5] * z - 2 * h[6] * y - 2 * h[8] * y;
        g[2] += h[5] * y + 4 * h[6] * z + h[7] * x;
    }
    if (k > 9) {
        g[0] += 6 * h[9] * x * y + h[10] * y * z - 2 * h[11] * x * y - 6 * h[12] * x * z +
                h[13] * (4 * zz - 3 * xx - yy) + 2 * h[14] * x * z + 3 * h[15] * (xx - yy);
        g[1] += 3 * h[9] * (xx - yy) + h[10] * x * z + h[11] * (4 * zz - xx - 3 * yy) - 6 * h[12] * y * z -
                2 * h[13] * x * y - 2 * h[14] * y * z - 6 * h[15] * x * y;
        g[2] += h[10] * x * y + 8 * h[11] * y * z + 3 * h[12] * (2 * zz - xx - yy) + 8 * h[13] * x * z +
                h[14] * (xx - yy);
    }
}

extern "C" __global__ void __launch_bounds__(256) harmonics_forward(
    const float* sh, const float* directions, float* colours, int n, int k) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* d = directions + 3 * i;
    float inverse = rsqrtf(fmaxf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], 1e-24f)), Y[16];
    basis(k, d[0] * inverse, d[1] * inverse, d[2] * inverse, Y);
    for (int c = 0; c < 3; ++c) {
        float sum = 0.5f;
        for (int j = 0; j < k; ++j) sum += Y[j] * sh[3 * ((long long)k * i + j) + c];
        colours[3 * i + c] = fmaxf(sum, 0.0f);
    }
}

// Where a colour was cut off at 0 it has no gradient.
extern "C" __global__ void __launch_bounds__(256) harmonics_backward(
    const float* sh, const float* directions, const float* colours, const float* g_colours, float* g_sh,
    float* g_directions, int n, int k) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* d = directions + 3 * i;
    float inverse = rsqrtf(fmaxf(d[0] * d[0] + d[1] * d[1] + d[2] * d[2], 1e-24f));
    float u[3] = {d[0] * inverse, d[1] * inverse, d[2] * inverse}, Y[16], h[16], g[3], g_u[3] = {};
    for (int c = 0; c < 3; ++c) g[c] = colours[3 * i + c] > 0.0f ? g_colours[3 * i + c] : 0.0f;
    basis(k, u[0], u[1], u[2], Y);
    for (int j = 0; j < k; ++j) {
        h[j] = 0.0f;
        for (int c = 0; c < 3; ++c) {
            long long place = 3 * ((long long)k * i + j) + c;
            g_sh[place] = Y[j] * g[c];
            h[j] += C[j] * sh[place] * g[c];
        }
    }
    basis_gradient(k, u[0], u[1], u[2], h, g_u);
    float along = u[0] * g_u[0] + u[1] * g_u[1] + u[2] * g_u[2];
    for (int c = 0; c < 3; ++c) g_directions[3 * i + c] = (g_u[c] - along * u[c]) * inverse;
}
