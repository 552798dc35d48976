// Steer: features turned up or down while the model writes, beside what it writes by itself and under a control.
import { useLayoutEffect } from "preact/hooks";
import { prepare } from "../api/client";
import { Arms, ODD } from "../parts/Arms";
import { Bar, Choice, Copy, Elsewhere, Empty, Failed } from "../parts/Bits";
import { FeaturePicker, writesLittle } from "../parts/FeaturePicker";
import { go, params, withParams } from "../state/router";
import { about } from "../state/session";
import * as steering from "../state/steering";
import { clean, number, seconds, spelt } from "../state/words";

const PROMPTS = ["Yesterday in the city", "The minister said that", "My favourite thing about", "It was late, and"];
const DOSES = [-1, 0.25, 0.5, 1, 2, 4];
const LENGTHS = [["20", "20"], ["40", "40"], ["80", "80"]] as const;
const HOW = [["0", "likeliest"], ["0.7", "usual"], ["1", "free"]] as const;

/** What the address says comes in; and if it says enough that was not written yet, it is written. */
function useAddress(): void {
  useLayoutEffect(() => {
    if (about.value!.model.state !== "none") void prepare();
    const given = params.value;
    if (!given.has("f")) return steering.done.value ? keepAddress() : undefined;
    steering.features.value = given.getAll("f").slice(0, steering.MOST.features);
    if (given.has("p")) steering.prompt.value = given.get("p")!;
    const doses = given.getAll("dose").map(Number).filter(Number.isFinite);
    const kl = Number(given.get("kl") || NaN);
    if (given.has("p")) {
      steering.doses.value = doses.slice(0, steering.MOST.doses);
      steering.kl.value = kl > 0 && Number.isFinite(kl) ? kl : null;
    }
    for (const [key, own] of [["tokens", steering.tokens], ["temp", steering.temperature], ["seed", steering.seed]] as const) {
      const value = Number(given.get(key) ?? NaN);
      if (Number.isFinite(value)) own.value = value;
    }
    if (steering.written.value === steering.command()) return;
    steering.clear();
    if (given.has("p") && about.value!.model.state !== "none") void steering.write();
  }, []);
  useLayoutEffect(() => steering.leave, []);
}

function keepAddress(): void {
  const { features, prompt, doses, kl, tokens, temperature, seed } = steering;
  go(withParams({ f: features.value, p: prompt.value, dose: kl.value === null ? doses.value.map(String) : [], kl: kl.value === null ? null : String(kl.value), tokens: String(tokens.value), temp: String(temperature.value), seed: String(seed.value) }), true);
}

function write(): void {
  keepAddress();
  void steering.write();
}

export function SteerPage() {
  useAddress();
  const model = about.value!.model;
  const { features, prompt, doing, failed, arms, done, turned } = steering;
  if (model.state === "none") return <><h1>Steer</h1><Empty>This server runs without a model, so nothing can be written. <code>hooke serve</code> without <code>--model none</code> steers.</Empty></>;
  return (
    <div class={`steer${doing.value ? " stale" : ""}`}>
      <h1>Turn a feature. See what the model writes.</h1>
      <p class="lede">A name says what a feature reads. Turning it shows what it does, beside what the model writes by itself and a control.</p>
      <form onSubmit={(event) => { event.preventDefault(); if (steering.ready()) write(); }}>
        <div class="asked">
          <fieldset><legend class="small soft">Feature to turn</legend><FeaturePicker names={features.value} most={steering.MOST.features} onChange={(names) => (features.value = names)} /></fieldset>
          <div>
            <label class="small soft" for="prompt">Text to go on from</label>
            <textarea id="prompt" dir="auto" rows={2} maxLength={steering.MOST.prompt} spellcheck={false} value={prompt.value} placeholder="the beginning of a text, yours or one of these:"
              onInput={(event) => (prompt.value = event.currentTarget.value)}
              onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && steering.ready()) write(); if (event.key === "Escape") steering.cancel(); }} />
            <p class="chips" role="group" aria-label="Beginnings">{PROMPTS.map((line) => <button key={line} type="button" class="chip" aria-pressed={prompt.value === line} onClick={() => (prompt.value = line)}>{line}</button>)}</p>
          </div>
        </div>
        <Strength />
        <Settings />
        <div class="actions">
          <button type="submit" class="primary" disabled={!steering.ready()}>Write</button>
          {doing.value && <button type="button" class="quiet" onClick={steering.cancel}>stop</button>}
          {doing.value && <Bar share={steering.share()} label="done so far" />}
          <span class="soft small" role="status">{doing.value ? `${doing.value}…` : !steering.ready() && !arms.value.length ? "Choose a feature and a text to go on from." : ""}{doing.value && steering.progress.value.left !== null && steering.progress.value.left >= 3 && ` about ${seconds(steering.progress.value.left)} left`}</span>
        </div>
      </form>
      {failed.value && <Failed error={failed.value} again={write} />}
      {arms.value.length > 0 && <Arms prompt={done.value?.prompt ?? prompt.value} arms={arms.value} done={done.value} positions={steering.taken.value.prompt} />}
      {done.value && turned.value.length > 0 && (
        <p class="small soft turned">{turned.value.map((one) => <span key={one.name}><b><bdi>{clean(one.title) || one.name}</bdi></b>{one.words.length > 0 && <> points at the words {one.words.slice(0, 10).map((word, i) => <bdi key={i} class="word">{spelt(word)}</bdi>)}</>}{writesLittle(one.kind) && " mostly reads: see whether its text differs from the control's more than by chance"}. </span>)}</p>
      )}
      {done.value && (
        <>
          <p class="note"><em>{done.value.note}</em> <Copy text={told}>copy the texts, with this sentence</Copy></p>
          <p class="small soft">A model of this size is easily pushed out of language, and steering is weaker than asking in words on average. That a feature's own words rise says that its direction is read, not that the model needed it.</p>
        </>
      )}
      <Terms />
      {steering.ready() && <Elsewhere command={steering.command()} {...(done.value ? { json: () => done.value } : {})} />}
    </div>
  );
}

/** The words of this page, explained where they are used. */
function Terms() {
  return (
    <details class="small terms">
      <summary class="soft">what the words on this page mean</summary>
      <dl class="keys">
        <div><dt>turned</dt><dd>While the model writes, the feature is added at every word, as if the text were full of what it stands for; turned down, it is taken away.</dd></div>
        <div><dt>strength (dose)</dt><dd>How much of it is added: 1× is the strongest it was ever seen in ordinary text, −1× takes as much away.</dd></div>
        <div><dt>what comes next</dt><dd>Before each word the model has a list of words that may come, each with a chance. How far turning a feature changes that list is measured in nats (Kullback–Leibler divergence): {steering.EFFECTS.map(([nats, said]) => `${nats} ${said}`).join(", ")}.</dd></div>
        <div><dt>control</dt><dd>Another feature, drawn by lot among those that fire as often, added as strongly. What it changes too is not this feature's doing.</dd></div>
        <div><dt>own words</dt><dd>The words that a feature points at by itself: by how much likelier they became on average. A feature that was measured and hardly writes has none.</dd></div>
        <div><dt>odd</dt><dd>How much the unaltered model is surprised by the text: 2 to 4 nats a word is ordinary text for a model of this size, more than {number(ODD)} hardly language.</dd></div>
        <div><dt>seed</dt><dd>Where the choice of words is left to chance, this number decides it: the same number gives the same text again. All texts beside each other are written with the same chance.</dd></div>
      </dl>
    </details>
  );
}

/** The texts that were written, and that they were altered. */
function told(): string {
  const result = steering.done.value!;
  const named = { clean: "By itself", steered: "Turned", random: "Control", prompted: "Asked for in words" };
  return [...result.arms.map((arm) => `${named[arm.kind]}${arm.dose ? `, dose ${arm.dose}` : ""}: ${result.prompt}${arm.text}`), result.note].join("\n\n");
}

/** How far: by how far what comes next is to change, unless a dose is given or it is to be as strong as in ordinary text. */
function Strength() {
  const { doses, kl } = steering;
  const flip = (dose: number) => {
    const next = doses.value.includes(dose) ? doses.value.filter((own) => own !== dose) : [...doses.value, dose].sort((a, b) => a - b);
    if (next.length) doses.value = next;
  };
  const at = Math.max(0, steering.reached(kl.value ?? 0));
  return (
    <div class="controls small strength-of">
      <span class="soft">Change what comes next</span>
      {kl.value !== null ? (
        <>
          <input type="range" min={0} max={steering.EFFECTS.length - 1} step={1} value={at} aria-label="How far what comes next is to change" aria-valuetext={steering.EFFECTS[at]![1]} onInput={(event) => (kl.value = steering.EFFECTS[Number(event.currentTarget.value)]![0])} />
          <output title={`${kl.value} nats a word`}>{steering.EFFECTS[at]![1]}</output>
          <span class="soft">how strongly to turn it for that is found out first</span>
        </>
      ) : doses.value.length ? (
        <>
          <div class="choice" role="group" aria-label="Strengths">{[...new Set([...DOSES, ...doses.value])].sort((a, b) => a - b).map((dose) => <button key={dose} type="button" aria-pressed={doses.value.includes(dose)} onClick={() => flip(dose)}>{number(dose)}×</button>)}</div>
          <span class="soft">1×: as strong as it ever was in ordinary text; several give a curve</span>
        </>
      ) : <span class="soft">as strongly as it ever fired in ordinary text, or less where that breaks the text</span>}
    </div>
  );
}

/** What few need to touch. */
function Settings() {
  const { doses, kl, tokens, temperature, seed } = steering;
  const way = kl.value !== null ? "effect" : doses.value.length ? "dose" : "auto";
  const choose = (next: string) => {
    doses.value = next === "dose" ? [1] : [];
    kl.value = next === "effect" ? 0.5 : null;
  };
  return (
    <details class="small settings">
      <summary class="soft">{tokens.value} words, {HOW.find(([key]) => Number(key) === temperature.value)?.[1] ?? number(temperature.value)} choice, seed {seed.value}: change that</summary>
      <div class="controls">
        <span class="soft">How far is said by</span>
        <Choice name="How far is said by" value={way} options={[["effect", "what it changes"], ["dose", "strength"], ["auto", "ordinary text"]]} onChange={choose} />
      </div>
      <div class="controls">
        <span class="soft">Words to write</span>
        <Choice name="How many words" value={String(tokens.value)} options={LENGTHS} onChange={(value) => (tokens.value = Number(value))} />
      </div>
      <div class="controls">
        <span class="soft">Choice of words</span>
        <Choice name="How words are drawn" value={String(temperature.value)} options={HOW} onChange={(value) => (temperature.value = Number(value))} />
        <span class="soft">{temperature.value === 0 ? "the likeliest word each time" : temperature.value === 0.7 ? "by chance, rare words made rarer" : "by chance, as the model has it"}</span>
      </div>
      <div class="controls">
        <label class="soft">Seed <input type="text" inputMode="numeric" class="seed" maxLength={10} value={seed.value} onChange={(event) => (seed.value = Math.min(4294967295, Math.max(0, Math.floor(Number(event.currentTarget.value)) || 0)))} /></label>
        <span class="soft">the same number, the same chance: another number gives another text</span>
      </div>
    </details>
  );
}
