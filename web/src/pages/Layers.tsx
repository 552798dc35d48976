// Layers: one text through every layer of the model, or two that differ by a word. A cell is a token at a layer.
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { prepare } from "../api/client";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { APART, Changed, inOrder, OneText, TwoTexts } from "../parts/Movie";
import { Label } from "../parts/Text";
import { go, params, withParams } from "../state/router";
import { about, singleKeys } from "../state/session";
import * as state from "../state/layers";
import { number, percent, quoted, spelt } from "../state/words";

const EXAMPLES: readonly (readonly [string, string | null])[] = [
  ["Rates held at 4.5% as inflation eases", null], ["Striker scores twice in cup final", null], ["The Eiffel Tower is in the city of", null],
  ["He sat down on the bank of the river and began to", "He sat down in the bank of the city and began to"],
];

function read(): void {
  go(withParams({ t: state.text.value, b: state.beside.value, at: null }), true);
  void state.read();
}

/** Whether there is all that is to be read. */
function ready(): boolean {
  return state.text.value.trim() !== "" && state.beside.value?.trim() !== "";
}

/** A second line to write in, at first the same text; or only one again. */
function flip(): void {
  state.beside.value = state.beside.value === null ? state.text.value : null;
  if (state.beside.value === null && state.differing.value && ready()) read();
  else setTimeout(() => document.getElementById("beside")?.focus());
}

function useAddress(): void {
  useLayoutEffect(() => {
    if (about.value!.model.state !== "none") void prepare();
    const given = params.value.get("t");
    if (given === null) return state.shown.value ? go(withParams({ t: state.text.value, b: state.beside.value }), true) : undefined;
    state.text.value = given.slice(0, state.MOST);
    state.beside.value = params.value.get("b")?.slice(0, state.MOST) ?? null;
    if (ready() && state.shown.value !== state.asked() && about.value!.model.state !== "none") void state.read();
  }, []);
  useLayoutEffect(() => state.leave, []);
  useLayoutEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key !== "d" || !singleKeys.value || event.ctrlKey || event.metaKey || event.altKey || (event.target as HTMLElement).closest("input, textarea, select, dialog")) return;
      event.preventDefault();
      flip();
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, []);
}

export function LayersPage() {
  useAddress();
  const held = useSignal(Number(params.value.get("at") ?? -1));
  const hold = (pos: number) => {
    held.value = pos === held.value ? -1 : pos;
    go(withParams({ at: held.value < 0 ? null : String(held.value) }), true);
  };
  const { text, beside, shown, tokens, differing, layers, saes, running, failed, changes, limits } = state;
  if (about.value!.model.state === "none") return <><h1>Layers</h1><Empty>This server runs without a model, so no text can be read. <code>hooke serve</code> without <code>--model none</code> reads.</Empty></>;
  const two = differing.value;
  const there = two ? two.layers.length > 0 : layers.value.length > 0;
  const last = two ? two.layers.at(-1)?.layer : layers.value.at(-1)?.layer;
  const columns = two ? two.tokens.length : tokens.value.length;
  const pos = held.value >= 0 && held.value < columns ? held.value : null;
  return (
    <div class={`layers${running.value ? " stale" : ""}`}>
      <h1 class={there ? "vh" : ""}>One text, every layer.</h1>
      {!there && <p class="lede">A model reads in steps. Each cell shows what would come next after a word, were that layer the last: watch the answer form. Or hold two texts against each other that differ by a word, and see from which layer on that matters.</p>}
      <form class="lines" onSubmit={(event) => { event.preventDefault(); if (ready()) read(); }}>
        <label class="vh" for="lens">Text to follow</label>
        <Line id="lens" placeholder="A headline" value={text.value} onChange={(value) => (text.value = value)} />
        {beside.value !== null && (
          <><label class="vh" for="beside">Second text</label>
            <Line id="beside" placeholder="The same with a word changed" value={beside.value} onChange={(value) => (beside.value = value)} /></>
        )}
        <button type="submit" class="primary" disabled={!ready()}>Follow</button>
        <button type="button" class="quiet small" onClick={flip}>{beside.value === null ? "hold a second text against it" : "only one text"}</button>
      </form>
      {!text.value && <p class="chips">{EXAMPLES.map(([line, other]) => <button key={line} type="button" class="chip" onClick={() => { text.value = line; beside.value = other; read(); }}>{line}{other && <> <span class="soft">against</span> {other}</>}</button>)}</p>}
      <p class="small soft" role="status">{running.value ? (last !== undefined ? `layer ${last} of ${state.count.value}, from the last down…` : `${state.doing.value}…`) : ""}
        {running.value && <> <button type="button" class="quiet" onClick={state.cancel}>stop</button></>}</p>
      {failed.value && <Failed error={failed.value} again={read} />}
      {there && !two && (
        <>
          <p class="legend small soft"><span>tint: how near to what the model says in the end, from far apart to nearly the same</span>
            <span class="scale nats" aria-hidden="true">{["4", "2", "1", "½", "¼"].map((most, i) => <span key={most} class={`s${i + 1}`} title={`${most} nats or less`} />)}</span>
            <span><b>bold</b>: the model's own word is first here. Click a word to follow it.</span></p>
          <p class="small soft">Read downwards: the last row is what the model says. Early layers were never made to be read so, and speak in fragments; what fires in them is shown all the same: the rows “features” name what fires most on each word after that layer. “␣” is a space.</p>
          <OneText tokens={tokens.value} layers={layers.value} saes={saes.value} held={pos} onHold={hold} />
          {pos !== null && <Followed pos={pos} onDrop={() => hold(pos)} />}
          {changes.value.length > 0 && <section class="after"><h2>Features from one SAE to the next</h2><ul class="small">{changes.value.map((line) => <li key={line}>{line}</li>)}</ul></section>}
        </>
      )}
      {there && two && (
        <>
          <p class="legend small soft"><span>tint: how far apart what either text would go on with is, from nearly the same to nothing in common</span>
            <span class="scale nats" aria-hidden="true">{APART.map((least, i) => <span key={least} class={`s${i + 1}`} title={`${least} bits or more`} />)}</span></p>
          <p class="small soft">Where the two differ, the second text's word stands below. Features: the one that differs most, from the first text to the second, as shares of its strongest.
            {two.leftOut > 0 && ` ${number(two.leftOut)} ${two.leftOut === 1 ? "token stands" : "tokens stand"} for none of the other text and ${two.leftOut === 1 ? "is" : "are"} left out.`}</p>
          <TwoTexts tokens={two.tokens} layers={two.layers} saes={two.saes} held={pos} onHold={hold} />
          {pos !== null && <Parted pos={pos} onDrop={() => hold(pos)} />}
        </>
      )}
      {there && limits.value && <p class="small soft after">{limits.value}</p>}
      {shown.value && <Elsewhere command={`hooke lens ${quoted(text.value)}${two ? ` --beside ${quoted(beside.value ?? "")}` : ""} --json`}
        json={() => (two ? { texts: [text.value, beside.value], ...two } : { text: text.value, tokens: tokens.value, layers: layers.value, saes: saes.value, changes: changes.value })} />}
    </div>
  );
}

/** A line to write in that grows where it is longer than the page is wide; Enter sends it. */
function Line({ id, value, placeholder, onChange }: { id: string; value: string; placeholder: string; onChange: (value: string) => void }) {
  return <textarea id={id} dir="auto" rows={1} maxLength={state.MOST} spellcheck={false} placeholder={placeholder} value={value} onInput={(event) => onChange(event.currentTarget.value.replace(/\n/g, " "))}
    onKeyDown={(event) => { if (event.key === "Enter") { event.preventDefault(); event.currentTarget.form?.requestSubmit(); } }} />;
}

/** One token through all layers, as a table. */
function Followed({ pos, onDrop }: { pos: number; onDrop: () => void }) {
  const features = new Map(state.saes.value.map((one) => [one.layer, one]));
  return (
    <section class="after followed">
      <h2>After “<bdi>{spelt(state.tokens.value[pos])}</bdi>” <button type="button" class="quiet small" onClick={onDrop}>let go</button></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="One token through all layers">
        <table class="small">
          <thead><tr><th scope="col">layer</th><th scope="col">would say</th><th scope="col" title="Kullback–Leibler divergence; 0 the same, ¼ near, 4 far apart">far from the end, nats</th><th scope="col">its own word is number</th><th scope="col">feature, of its strongest</th></tr></thead>
          <tbody>{inOrder(state.layers.value).map((layer) => {
            const own = features.get(layer.layer);
            const top = own?.top[pos];
            return (
              <tr key={layer.layer}>
                <th scope="row">{layer.layer}</th>
                <td>{layer.words[pos]!.slice(0, 4).map((word, i) => <span key={i} class="said"><bdi>{spelt(word)}</bdi> <span class="soft">{percent(layer.probabilities[pos]![i]!)}</span></span>)}</td>
                <td>{layer.kl[pos]!.toFixed(2)}</td><td data-of="its own word is number">{number(layer.rank[pos])}</td>
                <td>{top && <><a href={`/f/${top.feature}`}><Label text={own!.titles[top.feature] ?? top.feature} /></a> <span class="soft">{percent(top.relative)}{own!.newest?.[pos]?.feature === top.feature ? ", new here" : ""}</span></>}</td>
              </tr>
            );
          })}</tbody>
        </table>
      </div>
    </section>
  );
}

/** One pair of tokens through all layers, as a table. */
function Parted({ pos, onDrop }: { pos: number; onDrop: () => void }) {
  const { tokens, layers, saes } = state.differing.value!;
  const features = new Map(saes.map((one) => [one.layer, one]));
  const [first, second] = tokens[pos]!.map(spelt);
  return (
    <section class="after followed">
      <h2>After “<bdi>{first}</bdi>”{first !== second && <> and “<bdi>{second}</bdi>”</>} <button type="button" class="quiet small" onClick={onDrop}>let go</button></h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="One pair of tokens through all layers">
        <table class="small">
          <thead><tr><th scope="col">layer</th><th scope="col">first would say</th><th scope="col">bits apart</th><th scope="col">second would say</th><th scope="col">feature that differs most</th></tr></thead>
          <tbody>{inOrder(layers).map((layer) => (
            <tr key={layer.layer}><th scope="row">{layer.layer}</th><td><bdi>{spelt(layer.words[pos]![0])}</bdi></td><td>{layer.apart[pos]!.toFixed(2)}</td><td data-of="second would say"><bdi>{spelt(layer.words[pos]![1])}</bdi></td>
              <td>{features.has(layer.layer) && <Changed one={features.get(layer.layer)!.most[pos] ?? null} of={features.get(layer.layer)!} />}</td></tr>
          ))}</tbody>
        </table>
      </div>
    </section>
  );
}
