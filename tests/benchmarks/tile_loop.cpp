// The plain tile loop that the compiled compositor is measured against: for each pixel of each tile, its splats in order.
#include <algorithm>
#include <cmath>

extern "C" void tile_loop(
    const float* splats, const int* ids, const int* starts, int width, int height, float* out, float* through) {
    const int tile = 16, across = (width + tile - 1) / tile, down = (height + tile - 1) / tile;
    for (int t = 0; t < across * down; ++t)
        for (int y = t / across * tile; y < std::min(height, (t / across + 1) * tile); ++y)
            for (int x = t % across * tile; x < std::min(width, (t % across + 1) * tile); ++x) {
                float T = 1.0f, sums[4] = {};
                for (int k = starts[t]; k < starts[t + 1]; ++k) {
                    const float* s = splats + 13 * ids[k];
                    float dx = x + 0.5f - s[0], dy = y + 0.5f - s[1];
                    float power = -0.5f * (s[2] * dx * dx + s[4] * dy * dy) - s[3] * dx * dy;
                    if (power < -5.55f) continue;  // below 1/255 whatever the opacity
                    float alpha = std::min(0.99f, s[6] * std::exp(power));
                    if (alpha < 1.0f / 255.0f) continue;
                    float after = T * (1.0f - alpha);
                    if (after < 1e-4f) break;
                    for (int c = 0; c < 4; ++c) sums[c] += alpha * T * s[7 + c];
                    T = after;
                }
                for (int c = 0; c < 4; ++c) out[4 * (y * width + x) + c] = sums[c];
                through[y * width + x] = T;
            }
}
