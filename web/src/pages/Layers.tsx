// Layers: one text through every layer of the model. A cell is a token at a layer.
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { Grid, type Place } from "../parts/Grid";
import { Label } from "../parts/Text";
import { go, params, withParams } from "../state/router";
import { about, waiting } from "../state/session";
import * as state from "../state/layers";
import { clean, number, percent, quoted } from "../state/words";

const EXAMPLES = ["Rates held at 4.5% as inflation eases", "Striker scores twice in cup final", "The Eiffel Tower is in the city of"];

function read(): void {
  go(withParams({ t: state.text.value, at: null }), true);
  void state.read();
}

export function LayersPage() {
  const held = useSignal(Number(params.value.get("at") ?? -1));
  useLayoutEffect(() => {
    const given = params.value.get("t");
    if (given === null) return state.shown.value ? go(withParams({ t: state.shown.value }), true) : undefined;
    state.text.value = given.slice(0, state.MOST);
    if (state.text.value.trim() && state.shown.value !== state.text.value && about.value!.model.state !== "none") void state.read();
  }, []);
  useLayoutEffect(() => state.leave, []);
  const hold = (pos: number) => {
    held.value = pos === held.value ? -1 : pos;
    go(withParams({ at: held.value < 0 ? null : String(held.value) }), true);
  };
  const { text, shown, tokens, layers, saes, running, failed, changes, limits } = state;
  if (about.value!.model.state === "none") return <><h1>Layers</h1><Empty>This server runs without a model, so no text can be read. <code>hooke serve</code> without <code>--model none</code> reads.</Empty></>;
  const pos = held.value >= 0 && held.value < tokens.value.length ? held.value : null;
  return (
    <div class={`layers${running.value ? " stale" : ""}`}>
      <h1 class={tokens.value.length ? "vh" : ""}>One text, every layer.</h1>
      {!tokens.value.length && <p class="lede">A model reads in steps. Each cell shows what would come next after a word, were that layer the last: watch the answer form.</p>}
      <form class="line" onSubmit={(event) => { event.preventDefault(); if (text.value.trim()) read(); }}>
        <label class="vh" for="lens">Text to follow</label>
        <input id="lens" type="text" dir="auto" maxLength={state.MOST} spellcheck={false} placeholder="A headline" value={text.value} onInput={(event) => (text.value = event.currentTarget.value)} />
        <button type="submit" class="primary" disabled={!text.value.trim()}>Follow</button>
      </form>
      {!text.value && <p class="chips">{EXAMPLES.map((line) => <button key={line} type="button" class="chip" onClick={() => { text.value = line; read(); }}>{line}</button>)}</p>}
      <p class="small soft" role="status">{running.value ? (layers.value.length ? `layer ${layers.value.at(-1)!.layer} of ${state.count.value}, from the last down…` : `${waiting()}…`) : ""}
        {running.value && <> <button type="button" class="quiet" onClick={state.cancel}>stop</button></>}</p>
      {failed.value && <Failed error={failed.value} again={read} />}
      {tokens.value.length > 0 && layers.value.length > 0 && (
        <>
          <p class="legend small soft"><span>tint: how near to what the model says in the end, in nats</span>
            <span class="scale nats" aria-hidden="true">{["4", "2", "1", "½", "¼"].map((most, i) => <span key={most} class={`s${i + 1}`}>{most}</span>)}</span>
            <span><b>bold</b>: the model's own word is first here. Click a word to follow it.</span></p>
          <p class="small soft">Read downwards. Early layers speak in fragments: they were never made to be read so. “␣” is a space.</p>
          <Grid tokens={tokens.value} layers={[...layers.value].sort((a, b) => a.layer - b.layer)} saes={saes.value} held={pos} onHold={(place: Place) => hold(place.pos)} />
          {pos !== null && <Followed pos={pos} onDrop={() => hold(pos)} />}
          {changes.value.length > 0 && <section class="after"><h2>Features from one SAE to the next</h2><ul class="small">{changes.value.map((line) => <li key={line}>{line}</li>)}</ul></section>}
          {limits.value && <p class="small soft after">{limits.value}</p>}
        </>
      )}
      {shown.value && <Elsewhere command={`hooke lens ${quoted(shown.value)} --json`} json={() => ({ text: shown.value, tokens: tokens.value, layers: layers.value, saes: saes.value, changes: changes.value })} />}
    </div>
  );
}

/** One token through all layers, as a table. */
function Followed({ pos, onDrop }: { pos: number; onDrop: () => void }) {
  const layers = [...state.layers.value].sort((a, b) => a.layer - b.layer);
  const features = new Map(state.saes.value.map((one) => [one.layer, one]));
  return (
    <section class="after followed">
      <h2>After “<bdi>{clean(state.tokens.value[pos]).trim()}</bdi>” <button type="button" class="quiet small" onClick={onDrop}>let go</button></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="One token through all layers">
        <table class="small">
          <thead><tr><th scope="col">layer</th><th scope="col">would say</th><th scope="col">nats to the end</th><th scope="col">its own word is number</th><th scope="col">feature, of its strongest</th></tr></thead>
          <tbody>{layers.map((layer) => {
            const own = features.get(layer.layer);
            const top = own?.top[pos];
            return (
              <tr key={layer.layer}>
                <th scope="row">{layer.layer}</th>
                <td>{layer.words[pos]!.slice(0, 4).map((word, i) => <span key={i} class="said"><bdi>{clean(word).trim() || "␣"}</bdi> <span class="soft">{percent(layer.probabilities[pos]![i]!)}</span></span>)}</td>
                <td>{layer.kl[pos]!.toFixed(2)}</td><td>{number(layer.rank[pos])}</td>
                <td>{top && <><a href={`/f/${top.feature}`}><Label text={own!.titles[top.feature] ?? top.feature} /></a> <span class="soft">{percent(top.relative)}{own!.newest?.[pos]?.feature === top.feature ? ", new here" : ""}</span></>}</td>
              </tr>
            );
          })}</tbody>
        </table>
      </div>
    </section>
  );
}
