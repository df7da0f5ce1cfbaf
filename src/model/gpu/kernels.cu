// What candle has no kernel for, or several in a row. Compiled when a GPU is opened, for that GPU.

typedef unsigned short half_word;

// The nearest number in bfloat16, ties to even.
__device__ half_word to_bf16(float x) {
    unsigned int bits = __float_as_uint(x);
    if ((bits & 0x7f800000u) == 0x7f800000u) {
        // Infinite or no number, which must stay so when the low bits go.
        return (half_word)((bits >> 16) | ((bits & 0x007fffffu) ? 0x40u : 0u));
    }
    return (half_word)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

__device__ float of_bf16(half_word x) {
    return __uint_as_float((unsigned int)x << 16);
}

// x [count] as the sum of three numbers in bfloat16 each: out [3, count].
extern "C" __global__ void in_thirds(const float *x, half_word *out, unsigned long long count) {
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < count; i += step) {
        float whole = x[i];
        half_word first = to_bf16(whole);
        bool finite = isfinite(of_bf16(first));
        float rest = finite ? whole - of_bf16(first) : 0.0f;
        half_word second = to_bf16(rest);
        out[i] = first;
        out[count + i] = second;
        out[2 * count + i] = to_bf16(rest - of_bf16(second));
    }
}

// The sum of three parts [3, count], the smallest first: out [count].
extern "C" __global__ void sum_of_thirds(const float *parts, float *out, unsigned long long count) {
    unsigned long long step = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < count; i += step) {
        out[i] = parts[2 * count + i] + parts[count + i] + parts[i];
    }
}

// The largest or the sum over a block; every thread gets it.
template <bool LARGEST> __device__ float over_block(float x, float *shared) {
    for (int offset = 16; offset > 0; offset /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, x, offset);
        x = LARGEST ? fmaxf(x, other) : x + other;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        shared[threadIdx.x / 32] = x;
    }
    __syncthreads();
    float all = shared[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) {
        all = LARGEST ? fmaxf(all, shared[warp]) : all + shared[warp];
    }
    return all;
}

// Scores [sequences, heads, rows, keys] of queries from `first` on become attention in place; a block takes one row.
// Without a cap it is 0, without a window `window` is 0; with `chunked` it does not slide. `alibi` is 0, 1 for scores that fall by slope * distance, 2 for
// those that grow with scale * slope * position in bfloat16.
extern "C" __global__ void attention(float *scores, int heads, int rows, int keys, int first, int window, int chunked,
                                     float cap, int alibi, const float *slopes, float scale, int has_sinks,
                                     const float *sinks) {
    __shared__ float shared[32];
    int row = blockIdx.x % rows;
    int head = blockIdx.x / rows % heads;
    int query = first + row;
    int from = 0;
    if (window > 0) {
        from = chunked ? query / window * window : max(query + 1 - window, 0);
    }
    float *line = scores + (unsigned long long)blockIdx.x * keys;
    float slope = alibi ? slopes[head] : 0.0f;
    float rounded = of_bf16(to_bf16(slope));
    float largest = has_sinks ? sinks[head] : __int_as_float(0xff800000);
    for (int key = from + threadIdx.x; key <= query; key += blockDim.x) {
        float score = line[key];
        if (cap > 0.0f) {
            score = cap * tanhf(score / cap);
        }
        if (alibi == 1) {
            score -= slope * (float)(query - key);
        } else if (alibi == 2) {
            score += scale * of_bf16(to_bf16(rounded * of_bf16(to_bf16((float)key))));
        }
        line[key] = score;
        largest = fmaxf(largest, score);
    }
    largest = over_block<true>(largest, shared);
    float sum = 0.0f;
    for (int key = from + threadIdx.x; key <= query; key += blockDim.x) {
        float weight = expf(line[key] - largest);
        line[key] = weight;
        sum += weight;
    }
    sum = over_block<false>(sum, shared);
    if (has_sinks) {
        sum += expf(sinks[head] - largest);
    }
    float factor = 1.0f / sum;
    for (int key = threadIdx.x; key < keys; key += blockDim.x) {
        line[key] = key >= from && key <= query ? line[key] * factor : 0.0f;
    }
}
