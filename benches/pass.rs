//! Times what the explorer and `rank` do inside one process, on any model and device:
//!
//!     cargo bench --bench pass -- MODEL [--device cuda] [--dtype auto] [--tokens 2000] [--rounds 5]
//!
//! Prints one JSON object: seconds of each round, in order. The first round of a device warms it up.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use attnscope::{
    analysis::{benchmark::RankSettings, explain, rank, score::Score},
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    head::Head,
    model::{
        decoder::{Control, Pass},
        edit::Edit,
    },
};
use candle_core::Device;
use serde_json::{Map, Value, json};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let mut request = OpenRequest::default();
    let (mut tokens, mut rounds) = (2000, 5);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--device" => request.device = value()?.parse().map_err(anyhow::Error::msg)?,
            "--dtype" => request.dtype = value()?.parse().map_err(anyhow::Error::msg)?,
            "--tokens" => tokens = value()?.parse()?,
            "--rounds" => rounds = value()?.parse()?,
            model if !model.starts_with('-') => request.model = Some(model.to_owned()),
            other => bail!("{other} is no option of this benchmark"),
        }
    }
    let times = times(&request, tokens, rounds)?;
    println!("{}", Value::Object(times));
    Ok(())
}

fn times(request: &OpenRequest, tokens: usize, rounds: usize) -> Result<Map<String, Value>> {
    let mut times = Map::new();
    let start = Instant::now();
    let model = Model::open(request, &Nobody)?;
    wait(&model.decoder.device)?;
    times.insert("load".into(), json!([start.elapsed().as_secs_f64()]));
    let decoder = &model.decoder;
    let mut time = |name: &str, work: &mut dyn FnMut() -> Result<()>| -> Result<()> {
        let mut seconds = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            work()?;
            wait(&decoder.device)?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        times.insert(name.into(), json!(seconds));
        Ok(())
    };
    let benchmark = model.benchmark(RankSettings { length: model.info.block, ..RankSettings::default() })?;
    time("rank", &mut || rank::scores(decoder, &benchmark, Score::Induction, &Control::FREE).map(drop))?;
    // Any ids do: the work does not depend on them.
    let tokens = tokens.min(decoder.spec.context - 1);
    let ids: Vec<u32> =
        (0..tokens).map(|index| (index * 37 % (decoder.spec.vocabulary - 1)) as u32).collect();
    let mut trace = decoder.trace();
    time("prompt", &mut || {
        trace = decoder.trace();
        decoder.extend(&mut trace, &ids, &Pass::FREE)
    })?;
    let (last, middle) = (tokens - 1, Head::new(decoder.spec.layers / 2, 0));
    time("one head's pattern", &mut || trace.matrix(middle).map(drop))?;
    time("all heads at a token", &mut || explain::at_query(decoder, &trace, last, &Control::FREE).map(drop))?;
    time("next token's logits", &mut || {
        let last = trace.last.view()?.narrow(0, last, 1)?;
        Ok(decoder.logits(&last)?.to_device(&Device::Cpu).map(drop)?)
    })?;
    time("step", &mut || {
        decoder.shorten(&mut trace, tokens, &Pass::FREE)?;
        decoder.extend(&mut trace, &[1], &Pass::FREE)
    })?;
    decoder.shorten(&mut trace, tokens, &Pass::FREE)?;
    time("ablation", &mut || {
        let edits = decoder.edits(&[Edit::ablation(middle)], &trace, tokens)?;
        let pass = Pass::edited(&edits, &Control::FREE);
        decoder.follow(&mut decoder.trace(), &trace, middle.layer, &pass)
    })?;
    times.insert("model".into(), json!(model.info.name));
    times.insert("device".into(), json!(model.info.device));
    times.insert("dtype".into(), json!(model.info.dtype));
    times.insert("tokens".into(), json!(tokens));
    times.insert("bytes between host and device".into(), json!(decoder.attention.crossed()));
    Ok(times)
}

/// Waits until the device has done all that it was given.
fn wait(device: &Device) -> Result<()> {
    Ok(device.synchronize()?)
}
