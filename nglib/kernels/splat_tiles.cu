// Which tiles of 16 x 16 pixels a splat may touch, one thread for each splat in order of depth.
// A splat is 13 numbers: mean (2), shape (4), peak, channels (4), reach (2).

struct Range { int first, last; };

__device__ Range tile_range(float mean, float reach, int count) {
    float low = (mean - reach) / 16.0f, high = (mean + reach) / 16.0f;
    if (!(reach > 0.0f && high > 0.0f && low < float(count))) return {0, 0};
    return {max(int(floorf(low)), 0), int(fminf(floorf(high), float(count - 1))) + 1};
}

extern "C" __global__ void __launch_bounds__(256) tiles_count(
    const float* splats, const long long* order, long long* counts, int n, int across, int down) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* splat = splats + 13 * order[i];
    Range x = tile_range(splat[0], splat[11], across), y = tile_range(splat[1], splat[12], down);
    counts[i] = (x.last - x.first) * (long long)(y.last - y.first);
}

// Writes the pairs (tile, splat) of splat order[i] before place ends[i], the running sum of the counts.
extern "C" __global__ void __launch_bounds__(256) tiles_fill(
    const float* splats, const long long* order, const long long* ends, int* tiles, int* ids, int n, int across,
    int down) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* splat = splats + 13 * order[i];
    Range x = tile_range(splat[0], splat[11], across), y = tile_range(splat[1], splat[12], down);
    long long place = i ? ends[i - 1] : 0;
    for (int row = y.first; row < y.last; ++row)
        for (int column = x.first; column < x.last; ++column, ++place) {
            tiles[place] = row * across + column;
            ids[place] = int(order[i]);
        }
}
