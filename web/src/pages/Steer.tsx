// Steer: features turned up or down while the model writes, beside what it writes by itself and under a control.
import { useLayoutEffect } from "preact/hooks";
import { Arms, ODD } from "../parts/Arms";
import { Bar, Choice, Copy, Elsewhere, Empty, Failed } from "../parts/Bits";
import { FeaturePicker, Hardly, writesLittle } from "../parts/FeaturePicker";
import { go, params, withParams } from "../state/router";
import { about } from "../state/session";
import * as steering from "../state/steering";
import { clean, number, seconds, spelt } from "../state/words";

const PROMPTS = ["Yesterday in the city", "The minister said that", "My favourite thing about", "It was late, and"];
const DOSES = [-1, 0.25, 0.5, 1, 2, 4];
/** Where the slider of effects stops, in nats a word, and what that is like; more than the last no small model bears. */
const EFFECTS = [[0.05, "hardly"], [0.1, "a little"], [0.2, "a little"], [0.35, "clearly"], [0.5, "clearly"], [0.75, "clearly"], [1, "strongly"], [1.5, "strongly"], [2, "as far as text holds"]] as const;
const LENGTHS = [["20", "20"], ["40", "40"], ["80", "80"]] as const;
const HOW = [["0", "likeliest"], ["0.7", "usual"], ["1", "free"]] as const;

/** What the address says comes in; and if it says enough that was not written yet, it is written. */
function useAddress(): void {
  useLayoutEffect(() => {
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
      <h1 class={arms.value.length ? "vh" : ""}>Turn a feature. See what the model writes.</h1>
      {!arms.value.length && <p class="lede">A name says what a feature reads. Only turning it shows what it does: beside it stands what the model writes by itself, and what it writes with another feature turned as far.</p>}
      <form onSubmit={(event) => { event.preventDefault(); if (steering.ready()) write(); }}>
        <div class="asked">
          <fieldset><legend class="small soft">Features to turn</legend><FeaturePicker names={features.value} most={steering.MOST.features} onChange={(names) => (features.value = names)} />
            {features.value.map((name) => <Hardly key={name} name={name} onTake={(other) => (features.value = features.value.map((own) => (own === name ? other : own)))} />)}</fieldset>
          <div>
            <label class="small soft" for="prompt">Text to go on from</label>
            <textarea id="prompt" dir="auto" rows={2} maxLength={steering.MOST.prompt} spellcheck={false} value={prompt.value} placeholder="the beginning of a text"
              onInput={(event) => (prompt.value = event.currentTarget.value)}
              onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && steering.ready()) write(); if (event.key === "Escape") steering.cancel(); }} />
            {!prompt.value && <p class="chips">{PROMPTS.map((line) => <button key={line} type="button" class="chip" onClick={() => (prompt.value = line)}>{line}</button>)}</p>}
          </div>
        </div>
        <Strength />
        <Settings />
        <div class="actions">
          <button type="submit" class="primary" disabled={!steering.ready()}>Write</button>
          {doing.value && <button type="button" class="quiet" onClick={steering.cancel}>stop</button>}
          <span class="soft small" role="status">{doing.value ? `${doing.value}…` : !steering.ready() && !arms.value.length ? "Choose a feature and a text to go on from." : ""}{doing.value && steering.progress.value.left !== null && steering.progress.value.left >= 3 && ` about ${seconds(steering.progress.value.left)} left`}</span>
          {doing.value && steering.progress.value.words > 0 && <Bar share={steering.progress.value.words / steering.tokens.value} label="written so far" />}
        </div>
      </form>
      {failed.value && <Failed error={failed.value} again={write} />}
      {turned.value.length > 0 && arms.value.length > 0 && (
        <p class="small soft turned">{turned.value.map((one) => <span key={one.name}><b><bdi>{clean(one.title) || one.name}</bdi></b>{one.words.length > 0 && <>, whose own words are {one.words.slice(0, 10).map((word, i) => <bdi key={i} class="word">{spelt(word)}</bdi>)}</>}{writesLittle(one.kind) && ", which hardly writes: look at whether its text differs from the control's more than by chance"}: a dose of 1× is the strongest it ever was in ordinary text ({number(one.max)}). </span>)}</p>
      )}
      {arms.value.length > 0 && <Arms prompt={done.value?.prompt ?? prompt.value} arms={arms.value} done={done.value} positions={steering.taken.value.prompt} />}
      {done.value && (
        <>
          <p class="note"><em>{done.value.note}</em> <Copy text={told}>copy the texts, with this sentence</Copy></p>
          <Terms />
          <p class="small soft">A model of this size is easily pushed out of language, and steering is weaker than asking in words on average. That a feature's own words rise says that its direction is read, not that the model needed it.</p>
        </>
      )}
      {steering.ready() && <Elsewhere command={steering.command()} {...(done.value ? { json: () => done.value } : {})} />}
    </div>
  );
}

/** The words of this page, explained where they are used. */
function Terms() {
  return (
    <details class="small terms">
      <summary class="soft">what nats, dose, control and own words are</summary>
      <dl class="keys">
        <div><dt>dose</dt><dd>How strongly a feature is added at every word: 1× is the strongest it was seen in ordinary text, −1× takes as much away.</dd></div>
        <div><dt>expectations, nats</dt><dd>Before each word the model has a list of what may come, with chances. How far a list is moved is measured in nats (Kullback–Leibler divergence): 0 not at all, 0.1 a little, 0.5 clearly, 2 so far that text often breaks.</dd></div>
        <div><dt>control</dt><dd>Another feature, drawn by lot among those that fire as often, added as strongly. What it changes, too, is not this feature's doing.</dd></div>
        <div><dt>own words</dt><dd>The words that the feature's direction promotes by itself: by how much likelier they became on average. A feature that was measured and hardly writes has none.</dd></div>
        <div><dt>odd</dt><dd>Nats a word that the unaltered model needs for the text: 2 to 4 is ordinary text for a model of this size, more than {number(ODD)} hardly language.</dd></div>
        <div><dt>word choice</dt><dd>“Likeliest” takes the likeliest word each time; “usual” draws, with rare words made rarer (temperature 0.7); “free” draws as the model says. All texts draw with the same random numbers, which the seed decides.</dd></div>
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

/** How far: as the feature at its strongest, or chosen by dose, or by how far the model's expectations are to be moved. */
function Strength() {
  const { doses, kl } = steering;
  const way = kl.value !== null ? "effect" : doses.value.length ? "dose" : "auto";
  const choose = (next: string) => {
    doses.value = next === "dose" ? [1] : [];
    kl.value = next === "effect" ? 0.5 : null;
  };
  const flip = (dose: number) => {
    const next = doses.value.includes(dose) ? doses.value.filter((own) => own !== dose) : [...doses.value, dose].sort((a, b) => a - b);
    if (next.length) doses.value = next;
  };
  const at = Math.max(0, EFFECTS.filter(([nats]) => nats <= (kl.value ?? 0)).length - 1);
  return (
    <div class="controls small">
      <span class="soft">How far</span>
      <Choice name="How far is said by" value={way} options={[["effect", "by effect"], ["dose", "by dose"], ["auto", "as in text"]]} onChange={choose} />
      {way === "auto" && <span class="soft">as strong as it ever was in ordinary text, or less where that breaks the text</span>}
      {way === "dose" && (
        <>
          <div class="choice" role="group" aria-label="Doses">{[...new Set([...DOSES, ...doses.value])].sort((a, b) => a - b).map((dose) => <button key={dose} type="button" aria-pressed={doses.value.includes(dose)} onClick={() => flip(dose)}>{number(dose)}×</button>)}</div>
          <span class="soft">1× is as strong as it ever was in ordinary text; several give a curve</span>
        </>
      )}
      {way === "effect" && (
        <>
          <input type="range" min={0} max={EFFECTS.length - 1} step={1} value={at} aria-label="How far expectations are moved" aria-valuetext={moved(at)} onInput={(event) => (kl.value = EFFECTS[Number(event.currentTarget.value)]![0])} />
          <output>{moved(at)}</output>
          <span class="soft">measured along what the model writes by itself; along the altered text it may be more</span>
        </>
      )}
    </div>
  );
}

function moved(at: number): string {
  return `moves what comes next ${EFFECTS[at]![1]}: ${EFFECTS[at]![0]} nats a word`;
}

function Settings() {
  const { tokens, temperature, seed } = steering;
  return (
    <div class="controls small">
      <span class="soft">Words</span>
      <Choice name="How many words" value={String(tokens.value)} options={LENGTHS} onChange={(value) => (tokens.value = Number(value))} />
      <span class="soft">Word choice</span>
      <Choice name="How words are drawn" value={String(temperature.value)} options={HOW} onChange={(value) => (temperature.value = Number(value))} />
      <label class="soft">Seed <input type="text" inputMode="numeric" class="seed" maxLength={10} value={seed.value} onChange={(event) => (seed.value = Math.min(4294967295, Math.max(0, Math.floor(Number(event.currentTarget.value)) || 0)))} /></label>
    </div>
  );
}
