// Projection of Gaussians, one thread each: nglib/splat/project.py, fused, and its gradient.
// A camera is 21 numbers: R (9), t (3), f_x, f_y, c_x, c_y, limits of the slopes in x and y (4), near.

struct Projected {
    float t[3];      // camera coordinates of the mean
    float R[9];      // rotation of the Gaussian
    float q[4];      // its unit quaternion
    float inverse;   // one over the length of the given quaternion
    float u[2];      // slopes where J is taken
    float T[6];      // J W
    float A[6];      // J W R S: its two rows' products are the projected covariance
};

__device__ void to_camera(const float* mean, const float* camera, float* t) {
    for (int i = 0; i < 3; ++i)
        t[i] = camera[3 * i] * mean[0] + camera[3 * i + 1] * mean[1] + camera[3 * i + 2] * mean[2] + camera[9 + i];
}

__device__ Projected project(const float* mean, const float* quat, const float* scale, const float* camera) {
    Projected p;
    to_camera(mean, camera, p.t);
    p.inverse = rsqrtf(quat[0] * quat[0] + quat[1] * quat[1] + quat[2] * quat[2] + quat[3] * quat[3]);
    for (int i = 0; i < 4; ++i) p.q[i] = quat[i] * p.inverse;
    float w = p.q[0], x = p.q[1], y = p.q[2], z = p.q[3];
    p.R[0] = 1 - 2 * (y * y + z * z), p.R[1] = 2 * (x * y - w * z), p.R[2] = 2 * (x * z + w * y);
    p.R[3] = 2 * (x * y + w * z), p.R[4] = 1 - 2 * (x * x + z * z), p.R[5] = 2 * (y * z - w * x);
    p.R[6] = 2 * (x * z - w * y), p.R[7] = 2 * (y * z + w * x), p.R[8] = 1 - 2 * (x * x + y * y);
    float iz = 1.0f / p.t[2];
    for (int i = 0; i < 2; ++i) {
        p.u[i] = fminf(fmaxf(p.t[i] * iz, camera[16 + 2 * i]), camera[17 + 2 * i]);
        float f = camera[12 + i] * iz;
        for (int k = 0; k < 3; ++k) p.T[3 * i + k] = f * camera[3 * i + k] - f * p.u[i] * camera[6 + k];
        for (int k = 0; k < 3; ++k)
            p.A[3 * i + k] =
                (p.T[3 * i] * p.R[k] + p.T[3 * i + 1] * p.R[3 + k] + p.T[3 * i + 2] * p.R[6 + k]) * scale[k];
    }
    return p;
}

extern "C" __global__ void __launch_bounds__(256) project_forward(
    const float* means, const float* quats, const float* scales, const float* camera, float* means2d, float* cov2d,
    float* depths, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float t[3];
    to_camera(means + 3 * i, camera, t);
    depths[i] = t[2];
    if (t[2] <= camera[20]) {
        means2d[2 * i] = means2d[2 * i + 1] = 0.0f;
        cov2d[3 * i] = cov2d[3 * i + 1] = cov2d[3 * i + 2] = 0.0f;
        return;
    }
    Projected p = project(means + 3 * i, quats + 4 * i, scales + 3 * i, camera);
    for (int k = 0; k < 2; ++k) means2d[2 * i + k] = camera[12 + k] * t[k] / t[2] + camera[14 + k];
    cov2d[3 * i] = p.A[0] * p.A[0] + p.A[1] * p.A[1] + p.A[2] * p.A[2];
    cov2d[3 * i + 1] = p.A[0] * p.A[3] + p.A[1] * p.A[4] + p.A[2] * p.A[5];
    cov2d[3 * i + 2] = p.A[3] * p.A[3] + p.A[4] * p.A[4] + p.A[5] * p.A[5];
}

extern "C" __global__ void __launch_bounds__(256) project_backward(
    const float* means, const float* quats, const float* scales, const float* camera, const float* g_means2d,
    const float* g_cov2d, const float* g_depths, float* g_means, float* g_quats, float* g_scales, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float t[3];
    to_camera(means + 3 * i, camera, t);
    if (t[2] <= camera[20]) {
        for (int k = 0; k < 3; ++k) g_means[3 * i + k] = camera[6 + k] * g_depths[i], g_scales[3 * i + k] = 0.0f;
        for (int k = 0; k < 4; ++k) g_quats[4 * i + k] = 0.0f;
        return;
    }
    Projected p = project(means + 3 * i, quats + 4 * i, scales + 3 * i, camera);
    const float *scale = scales + 3 * i, ga = g_cov2d[3 * i], gb = g_cov2d[3 * i + 1], gc = g_cov2d[3 * i + 2];

    // Sigma' = A A^T gives dL/dA = 2 M A, M = [[g_a, g_b / 2], [g_b / 2, g_c]]; H = dL/d(T R) = dL/dA S.
    float H[6], G_R[9], g_T[6];
    for (int k = 0; k < 3; ++k) {
        float gx = 2 * ga * p.A[k] + gb * p.A[3 + k], gy = gb * p.A[k] + 2 * gc * p.A[3 + k];
        H[k] = gx * scale[k], H[3 + k] = gy * scale[k];
        g_scales[3 * i + k] = (gx * p.A[k] + gy * p.A[3 + k]) / scale[k];
    }
    for (int r = 0; r < 3; ++r)
        for (int k = 0; k < 3; ++k) G_R[3 * r + k] = p.T[r] * H[k] + p.T[3 + r] * H[3 + k];
    for (int r = 0; r < 2; ++r)
        for (int k = 0; k < 3; ++k)
            g_T[3 * r + k] = H[3 * r] * p.R[3 * k] + H[3 * r + 1] * p.R[3 * k + 1] + H[3 * r + 2] * p.R[3 * k + 2];

    // R in the unit quaternion, and that in the given one.
    float w = p.q[0], x = p.q[1], y = p.q[2], z = p.q[3], g_q[4];
    g_q[0] = 2 * (x * (G_R[7] - G_R[5]) + y * (G_R[2] - G_R[6]) + z * (G_R[3] - G_R[1]));
    g_q[1] = 2 * (-2 * x * (G_R[4] + G_R[8]) + y * (G_R[1] + G_R[3]) + z * (G_R[2] + G_R[6]) + w * (G_R[7] - G_R[5]));
    g_q[2] = 2 * (x * (G_R[1] + G_R[3]) - 2 * y * (G_R[0] + G_R[8]) + z * (G_R[5] + G_R[7]) + w * (G_R[2] - G_R[6]));
    g_q[3] = 2 * (x * (G_R[2] + G_R[6]) + y * (G_R[5] + G_R[7]) - 2 * z * (G_R[0] + G_R[4]) + w * (G_R[3] - G_R[1]));
    float along = g_q[0] * w + g_q[1] * x + g_q[2] * y + g_q[3] * z;
    for (int k = 0; k < 4; ++k) g_quats[4 * i + k] = (g_q[k] - along * p.q[k]) * p.inverse;

    // J = f [1, -u] / t_z row by row; beyond the margin u stands still.
    float iz = 1.0f / t[2], g_t[3] = {0.0f, 0.0f, g_depths[i]};
    for (int r = 0; r < 2; ++r) {
        float f = camera[12 + r], slope = t[r] * iz;
        float j_r = g_T[3 * r] * camera[3 * r] + g_T[3 * r + 1] * camera[3 * r + 1] + g_T[3 * r + 2] * camera[3 * r + 2];
        float j_2 = g_T[3 * r] * camera[6] + g_T[3 * r + 1] * camera[7] + g_T[3 * r + 2] * camera[8];
        bool inside = camera[16 + 2 * r] < slope && slope < camera[17 + 2 * r];
        float g_u = f * (g_means2d[2 * i + r] - (inside ? iz * j_2 : 0.0f));
        g_t[r] = g_u * iz;
        g_t[2] -= iz * iz * (f * (j_r - p.u[r] * j_2) + g_u * t[r]);
    }
    for (int k = 0; k < 3; ++k)
        g_means[3 * i + k] = camera[k] * g_t[0] + camera[3 + k] * g_t[1] + camera[6 + k] * g_t[2];
}
