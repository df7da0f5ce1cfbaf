//! The scores on models whose heads are known: one built by hand to do induction, one made of random numbers.

use attnscope::{
    analysis::{
        benchmark::{Benchmark, Blocks, Bos, Kind, RankSettings},
        rank,
        score::{HeadScores, Score},
    },
    checkpoint::weights::{StoredTensor, WeightType, Weights},
    head::{Head, PerHead},
    model::{
        decoder::{Control, Decoder, Pass},
        families, load,
        place::{DtypeChoice, Placement},
        trace::Trace,
    },
};
use candle_core::Device;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

const VOCABULARY: usize = 64;
const CONTEXT: usize = 160;

fn scores(decoder: &Decoder, settings: RankSettings) -> PerHead<HeadScores> {
    let vocabulary = decoder.spec.vocabulary as u32;
    let benchmark =
        Benchmark::new((1..vocabulary).collect(), Some(0), decoder.spec.context, settings).unwrap();
    let mut tally = rank::Tally::new(decoder.spec.layers, decoder.spec.heads);
    for kind in Kind::ALL {
        let draws: Vec<(Kind, usize)> = (0..benchmark.draws(kind)).map(|draw| (kind, draw)).collect();
        tally.merge(rank::measure(decoder, &benchmark, &draws, &Control::FREE).unwrap());
    }
    tally.scores()
}

fn decoder(config: serde_json::Value, weights: &Weights) -> Decoder {
    let values = config.as_object().unwrap();
    let family = families::find(values["model_type"].as_str().unwrap(), values, weights, "config").unwrap();
    let config = family.config(values, weights, "config").unwrap();
    let plan = (family.hub)(&config, weights).unwrap();
    let placement = Placement { device: Device::Cpu, dtype: DtypeChoice::Auto };
    load::load(&plan, weights, &placement, &|_, _| true).unwrap()
}

fn add(weights: &mut Weights, name: &str, shape: &[usize], numbers: Vec<f32>) {
    assert_eq!(shape.iter().product::<usize>(), numbers.len(), "{name}");
    let bytes = WeightType::F32.narrow(&numbers).unwrap();
    weights.insert(StoredTensor::owned(name.into(), WeightType::F32, shape.to_vec(), bytes).unwrap());
}

/// A GPT-2 whose residual stream has a room for each of: the token, the position, the token before. Layer 0 copies the
/// token of the position before into the third room; layer 1 looks for its own token there.
fn built_by_hand() -> Decoder {
    let width = 2 * VOCABULARY + CONTEXT;
    let (token, position, before) = (0, VOCABULARY, VOCABULARY + CONTEXT);
    let head = width;
    let at = |row: usize, column: usize, columns: usize| row * columns + column;
    let mut weights = Weights::default();

    let mut embedding = vec![0.0; VOCABULARY * width];
    for id in 0..VOCABULARY {
        embedding[at(id, token + id, width)] = 1.0;
    }
    let mut positions = vec![0.0; CONTEXT * width];
    for place in 0..CONTEXT {
        positions[at(place, position + place, width)] = 1.0;
    }
    add(&mut weights, "wte.weight", &[VOCABULARY, width], embedding);
    add(&mut weights, "wpe.weight", &[CONTEXT, width], positions);

    // Stronger than any difference that layer normalisation makes.
    const SHARP: f32 = 100.0;
    for layer in 0..2 {
        let mut qkv = vec![0.0; width * 3 * head];
        let mut out = vec![0.0; head * width];
        let (query, key, value) = (0, head, 2 * head);
        if layer == 0 {
            // Query: my position; key: the position after mine; value: my token.
            for place in 0..CONTEXT {
                qkv[at(position + place, query + place, 3 * head)] = SHARP;
                if place + 1 < CONTEXT {
                    qkv[at(position + place, key + place + 1, 3 * head)] = 1.0;
                }
            }
            for id in 0..VOCABULARY {
                qkv[at(token + id, value + id, 3 * head)] = 1.0;
                out[at(id, before + id, width)] = 1.0;
            }
        } else {
            // Query: my token; key: the token before mine.
            for id in 0..VOCABULARY {
                qkv[at(token + id, query + id, 3 * head)] = SHARP;
                qkv[at(before + id, key + id, 3 * head)] = 1.0;
            }
        }
        let name = |part: &str| format!("h.{layer}.{part}");
        add(&mut weights, &name("attn.c_attn.weight"), &[width, 3 * head], qkv);
        add(&mut weights, &name("attn.c_attn.bias"), &[3 * head], vec![0.0; 3 * head]);
        add(&mut weights, &name("attn.c_proj.weight"), &[head, width], out);
        add(&mut weights, &name("attn.c_proj.bias"), &[width], vec![0.0; width]);
        for norm in ["ln_1", "ln_2"] {
            add(&mut weights, &name(&format!("{norm}.weight")), &[width], vec![1.0; width]);
            add(&mut weights, &name(&format!("{norm}.bias")), &[width], vec![0.0; width]);
        }
        add(&mut weights, &name("mlp.c_fc.weight"), &[width, 1], vec![0.0; width]);
        add(&mut weights, &name("mlp.c_fc.bias"), &[1], vec![0.0]);
        add(&mut weights, &name("mlp.c_proj.weight"), &[1, width], vec![0.0; width]);
        add(&mut weights, &name("mlp.c_proj.bias"), &[width], vec![0.0; width]);
    }
    add(&mut weights, "ln_f.weight", &[width], vec![1.0; width]);
    add(&mut weights, "ln_f.bias", &[width], vec![0.0; width]);
    let config = serde_json::json!({
        "model_type": "gpt2", "n_layer": 2, "n_head": 1, "n_embd": width, "n_inner": 1,
        "n_positions": CONTEXT, "vocab_size": VOCABULARY,
    });
    decoder(config, &weights)
}

#[test]
fn a_hand_built_induction_head_scores_above_99_percent() {
    let decoder = built_by_hand();
    for length in [5, 17, 31] {
        let scores = scores(&decoder, RankSettings { length, ..RankSettings::default() });
        let [first, second] = [0, 1].map(|layer| &scores[Head::new(layer, 0)]);
        assert!(first.get(Score::Previous) > 0.99, "length {length}: {scores:?}");
        assert!(second.get(Score::Induction) > 0.99, "length {length}: {scores:?}");
        assert!(second.get(Score::Prefix) > 0.99, "length {length}: {scores:?}");
        assert!(first.get(Score::Induction) < 0.01, "length {length}: {scores:?}");
        assert!(second.chance < 0.2, "length {length}: {scores:?}");
    }
}

/// A model of random numbers attends almost uniformly when its queries are small.
fn random() -> Decoder {
    let (width, heads, layers) = (32, 4, 2);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut numbers = |count: usize, scale: f32| -> Vec<f32> {
        (0..count).map(|_| scale * (random.next_u32() as f32 / u32::MAX as f32 - 0.5)).collect()
    };
    let mut weights = Weights::default();
    add(&mut weights, "model.embed_tokens.weight", &[VOCABULARY, width], numbers(VOCABULARY * width, 1.0));
    add(&mut weights, "lm_head.weight", &[VOCABULARY, width], numbers(VOCABULARY * width, 1.0));
    add(&mut weights, "model.norm.weight", &[width], vec![1.0; width]);
    for layer in 0..layers {
        add(
            &mut weights,
            &format!("model.layers.{layer}.input_layernorm.weight"),
            &[width],
            vec![1.0; width],
        );
        for part in ["q", "k", "v", "o"] {
            let name = format!("model.layers.{layer}.self_attn.{part}_proj.weight");
            add(&mut weights, &name, &[width, width], numbers(width * width, 0.2));
        }
    }
    let config = serde_json::json!({
        "model_type": "attn-only", "num_hidden_layers": layers, "num_attention_heads": heads, "hidden_size": width,
        "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT,
    });
    decoder(config, &weights)
}

#[test]
fn a_random_model_scores_its_chance_level() {
    let length = 25;
    let scores = scores(&random(), RankSettings { length, batch: 16, bos: Bos::On, seed: 3 });
    // Uniform attention: the mean of 1 / (visible keys) over the second copy.
    let uniform = (0..length).map(|i| 1.0 / (2 + length + i) as f32).sum::<f32>() / length as f32;
    for head in scores.values() {
        assert!((head.get(Score::Induction) - uniform).abs() < 0.2 * uniform, "{head:?} for {uniform}");
        assert!((head.chance - uniform).abs() < 0.2 * uniform, "{head:?} for {uniform}");
        assert!((head.get(Score::Prefix) - 0.0307).abs() < 0.004, "{head:?}");
        assert!(head.get(Score::Entropy) > 0.98, "{head:?}");
    }
}

#[test]
fn draws_are_measured_one_by_one() {
    let decoder = random();
    let settings = RankSettings { length: 10, batch: 11, bos: Bos::On, seed: 5 };
    let benchmark = Benchmark::new((1..VOCABULARY as u32).collect(), Some(0), CONTEXT, settings).unwrap();
    // More than a pass takes at once.
    let tally = rank::scores(&decoder, &benchmark, Score::Duplicate, &Control::FREE).unwrap();
    let (scores, errors) = (tally.scores(), tally.errors());
    let count = |kind| tally.count(kind);
    assert_eq!([Kind::Repeat, Kind::Control, Kind::Prefix, Kind::Stripe].map(count), [11, 3, 3, 3]);
    // From the whole pattern of each sequence by itself.
    let traces: Vec<_> = (0..11)
        .map(|draw| {
            let mut trace = decoder.trace();
            let ids = benchmark.sequence(Kind::Repeat, draw);
            decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
            trace
        })
        .collect();
    for (head, scores) in scores.iter() {
        let of_draw = |trace: &Trace| {
            let pattern = trace.matrix(head).unwrap();
            (11..21).map(|query| f64::from(pattern[query * 21 + query - 10])).sum::<f64>() / 10.0
        };
        let expected: Vec<f64> = traces.iter().map(of_draw).collect();
        let found = tally.means(Kind::Repeat, Score::Duplicate, head);
        assert_eq!(found.len(), 11);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
        let mean = expected.iter().sum::<f64>() / 11.0;
        let variance = expected.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / 10.0;
        let error = (variance / 11.0).sqrt();
        assert!((f64::from(scores.get(Score::Duplicate)) - mean).abs() < 1e-6);
        assert!((f64::from(errors[head].get(Score::Duplicate)) - error).abs() < 1e-3 * error);
    }
}

#[test]
fn sequences_are_drawn_until_the_leaders_are_known() {
    let decoder = random();
    let settings = |batch| RankSettings { length: 10, batch, bos: Bos::On, seed: 5 };
    let benchmark =
        |batch| Benchmark::new((1..VOCABULARY as u32).collect(), Some(0), CONTEXT, settings(batch)).unwrap();
    let by = Score::Duplicate;
    let scores = |batch| rank::scores(&decoder, &benchmark(batch), by, &Control::FREE).unwrap();
    let settled = |batch, width, leaders| {
        let mut benchmark = benchmark(batch);
        let goal = rank::Goal { width, leaders };
        let tally = rank::settled(&decoder, &mut benchmark, by, goal, &Control::FREE).unwrap();
        (benchmark.settings().batch, tally)
    };
    // What 16 sequences reach and 4 and 8 do not.
    let widths = [4, 8, 16].map(|batch| scores(batch).widest(by, 8));
    assert!(widths[2] < widths[1] && widths[2] < widths[0], "{widths:?}");
    let (batch, tally) = settled(1, widths[2], 8);
    assert_eq!(batch, 16);
    // The same as when so many were asked for.
    let again = scores(16);
    assert_eq!(tally.scores().len(), 8);
    let both = |tally: &rank::Tally| [tally.scores().values(), tally.errors().values()].concat();
    for (one, other) in both(&tally).iter().zip(&both(&again)) {
        for score in Score::ALL {
            assert!((one.get(score) - other.get(score)).abs() < 1e-6, "{score:?}: {one:?} and {other:?}");
        }
    }
    assert_eq!(settled(6, 0.9, 8).0, 6);
    assert_eq!(settled(1, 1e-9, 0).0, 4, "no heads are asked about");
}

#[test]
fn scores_of_a_pattern_are_transformer_lens_s() {
    // Written by `tests/reference/lens_scores.py`.
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/lens-scores.safetensors");
    let stored = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    let twice = Blocks { start: 1, length: 8, copies: 2 };
    let cases = [
        (Score::Induction, "twice", twice),
        (Score::Duplicate, "twice", twice),
        (Score::Previous, "twice", twice),
        (Score::Prefix, "often", Blocks { start: 1, length: 5, copies: 4 }),
        (Score::Tl, "bare", Blocks { start: 0, ..twice }),
    ];
    for (score, sequence, blocks) in cases {
        let expected = stored[score.name()].to_vec1::<f32>().unwrap();
        let heads = stored[sequence].to_vec3::<f32>().unwrap();
        for (head, expected) in heads.iter().zip(expected) {
            let shares: Vec<f32> = (0..head.len())
                .filter_map(|query| rank::share(score, &head[query][..=query], query, blocks))
                .collect();
            let mean = shares.iter().sum::<f32>() / shares.len() as f32;
            assert!((mean - expected).abs() < 1e-5, "{}: {mean} for {expected}", score.name());
        }
    }
}
