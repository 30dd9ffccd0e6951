// Runs the text of a CUDA kernel on a CPU, for tests. Blocks run one after another. The threads of a block are fibers
// that change places at barriers only, or, with NG_THREADS, one std::thread each, so that ThreadSanitizer sees them.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#ifdef NG_THREADS
#include <barrier>
#include <thread>
#else
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __constant__ static
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct float2 { float x, y; };
struct float3 { float x, y, z; };
struct float4 { float x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

namespace ng {

[[noreturn]] inline void fail(const char* why) {
    std::fprintf(stderr, "kernel stopped: %s\n", why);
    std::exit(3);
}

inline unsigned flat(dim3 index, dim3 size) { return (index.z * size.y + index.y) * size.x + index.x; }

#ifdef NG_THREADS

struct Barrier {
    std::barrier<> all;
    explicit Barrier(int count) : all(count) {}
    void wait() { all.arrive_and_wait(); }
    void leave() { all.arrive_and_drop(); }
};

#else

inline int progress = 0;
void yield();

struct Barrier {
    int expected, arrived = 0, generation = 0;
    explicit Barrier(int count) : expected(count) {}
    void release() { arrived = 0, ++generation, ++progress; }
    void wait() {
        int mine = generation;
        if (++arrived == expected) return release();
        while (generation == mine) yield();
    }
    void leave() {
        --expected, ++progress;
        if (arrived && arrived == expected) release();
    }
};

#endif

struct Warp {
    Barrier barrier;
    uint64_t slot[warpSize] = {};
    explicit Warp(int count) : barrier(count) {}
};

struct Block {
    Barrier barrier;
    std::vector<std::unique_ptr<Warp>> warps;
    std::vector<int> votes;
    explicit Block(int count) : barrier(count), votes(count) {
        for (int first = 0; first < count; first += warpSize)
            warps.push_back(std::make_unique<Warp>(std::min(warpSize, count - first)));
    }
    void leave(int thread) { warps[thread / warpSize]->barrier.leave(), barrier.leave(); }
};

inline Block* block;
inline std::unique_ptr<char[]> dynamic_shared;

inline unsigned thread() { return flat(threadIdx, blockDim); }
inline unsigned lane() { return thread() % warpSize; }
inline Warp& warp() { return *block->warps[thread() / warpSize]; }

inline dim3 unflatten(unsigned i, dim3 size) { return {i % size.x, i / size.x % size.y, i / (size.x * size.y)}; }

// What every lane of the warp passed, as this lane sees it.
template <class T>
void gather(unsigned mask, T value, T (&seen)[warpSize]) {
    if (mask != 0xffffffffu) fail("a warp function got a mask other than 0xffffffff, which this harness does not follow");
    static_assert(sizeof(T) <= 8);
    Warp& w = warp();
    std::memcpy(&w.slot[lane()], &value, sizeof(T));
    w.barrier.wait();
    for (int i = 0; i < warpSize; ++i) std::memcpy(&seen[i], &w.slot[i], sizeof(T));
    w.barrier.wait();
}

inline int count_votes(bool vote) {
    block->votes[thread()] = vote;
    block->barrier.wait();
    int sum = 0;
    for (int v : block->votes) sum += v;
    block->barrier.wait();
    block->votes[thread()] = 0;
    return sum;
}

#ifdef NG_THREADS

inline void run_block(dim3 grid, dim3 size, dim3 index, const std::function<void()>& body) {
    int count = size.x * size.y * size.z;
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([=, &body] {
            gridDim = grid, blockDim = size, blockIdx = index, threadIdx = unflatten(i, size);
            body();
            block->leave(i);
        });
    for (auto& t : threads) t.join();
}

#else

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    bool done = false;
};
inline ucontext_t scheduler;
inline std::vector<Fiber> fibers;
inline unsigned running;
inline const std::function<void()>* body_of_fibers;

inline void yield() { swapcontext(&fibers[running].context, &scheduler); }

inline void fiber_main() {
    (*body_of_fibers)();
    block->leave(running);
    fibers[running].done = true;
}

inline void run_block(dim3 grid, dim3 size, dim3 index, const std::function<void()>& body) {
    constexpr size_t stack_bytes = 1 << 18;
    unsigned count = size.x * size.y * size.z, alive = count;
    gridDim = grid, blockDim = size, blockIdx = index;
    body_of_fibers = &body;
    fibers.resize(count);
    for (auto& f : fibers) {
        if (!f.stack) f.stack = std::make_unique<char[]>(stack_bytes);
        getcontext(&f.context);
        f.context.uc_stack.ss_sp = f.stack.get();
        f.context.uc_stack.ss_size = stack_bytes;
        f.context.uc_link = &scheduler;
        f.done = false;
        makecontext(&f.context, fiber_main, 0);
    }
    while (alive) {
        int before = progress;
        for (running = 0; running < count; ++running) {
            if (fibers[running].done) continue;
            threadIdx = unflatten(running, size);
            swapcontext(&scheduler, &fibers[running].context);
            alive -= fibers[running].done;
        }
        if (before == progress) fail("its threads wait for one another at different barriers");
    }
}

#endif

inline void launch(dim3 grid, dim3 size, size_t shared, const std::function<void()>& body) {
    int count = size.x * size.y * size.z;
    if (count > 1024) fail("a block has more than 1024 threads");
    dynamic_shared = std::make_unique<char[]>(shared);
    for (unsigned i = 0; i < grid.x * grid.y * grid.z; ++i) {
        Block current(count);
        block = &current;
        run_block(grid, size, unflatten(i, grid), body);
    }
}

// The arguments of a kernel, read from and written back to one file.
struct Arguments {
    std::FILE* file;
    std::vector<std::pair<void*, size_t>> written;
    template <class T> T number() {
        T value;
        if (std::fread(&value, sizeof(T), 1, file) != 1) fail("the file of arguments is too short");
        return value;
    }
    template <class T> T* tensor(bool is_written) {
        size_t bytes = number<uint64_t>();
        // Exactly as large as the tensor, so that AddressSanitizer reports what lies beyond. Kept till the program ends.
        void* memory = std::malloc(bytes);
        if (bytes && std::fread(memory, bytes, 1, file) != 1) fail("the file of arguments is too short");
        if (is_written) written.emplace_back(memory, bytes);
        return static_cast<T*>(memory);
    }
    void write(const char* path) {
        std::FILE* out = std::fopen(path, "wb");
        for (auto [memory, bytes] : written) std::fwrite(memory, 1, bytes, out);
        std::fclose(out);
    }
};

}  // namespace ng

inline void __syncthreads() { ng::block->barrier.wait(); }
inline int __syncthreads_count(int vote) { return ng::count_votes(vote != 0); }
inline int __syncthreads_or(int vote) { return ng::count_votes(vote != 0) != 0; }
inline int __syncthreads_and(int vote) { return ng::count_votes(vote == 0) == 0; }
inline void __syncwarp(unsigned = 0xffffffffu) { ng::warp().barrier.wait(); }

template <class T> T __shfl_sync(unsigned mask, T value, int from) {
    T seen[warpSize];
    ng::gather(mask, value, seen);
    return seen[from % warpSize];
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits) {
    return __shfl_sync(mask, value, int(ng::lane()) ^ bits);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int by) {
    int from = int(ng::lane()) + by;
    return __shfl_sync(mask, value, from < warpSize ? from : int(ng::lane()));
}
template <class T> T __shfl_up_sync(unsigned mask, T value, int by) {
    int from = int(ng::lane()) - by;
    return __shfl_sync(mask, value, from >= 0 ? from : int(ng::lane()));
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
    int seen[warpSize];
    ng::gather(mask, vote, seen);
    unsigned bits = 0, size = blockDim.x * blockDim.y * blockDim.z, first = ng::thread() - ng::lane();
    for (unsigned i = 0; i < warpSize && first + i < size; ++i) bits |= unsigned(seen[i] != 0) << i;
    return bits;
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, !vote) == 0; }

template <class T> T atomicAdd(T* p, T v) { return std::atomic_ref<T>(*p).fetch_add(v); }
template <class T> T atomicMax(T* p, T v) {
    std::atomic_ref<T> a(*p);
    T old = a.load();
    while (old < v && !a.compare_exchange_weak(old, v)) {}
    return old;
}
template <class T> T atomicMin(T* p, T v) {
    std::atomic_ref<T> a(*p);
    T old = a.load();
    while (v < old && !a.compare_exchange_weak(old, v)) {}
    return old;
}

using std::max;
using std::min;
template <class T> T __ldg(const T* p) { return *p; }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __saturatef(float x) { return std::fmin(std::fmax(x, 0.0f), 1.0f); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __ffs(int x) { return x ? std::countr_zero(unsigned(x)) + 1 : 0; }
inline int __clz(int x) { return std::countl_zero(unsigned(x)); }
