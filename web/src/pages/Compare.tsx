// Compare: piles of text held against each other.
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type Problem } from "../api/client";
import { Bar, Choice, Empty, Failed } from "../parts/Bits";
import { Differences } from "../parts/Differences";
import { Layers } from "../parts/Layers";
import * as comparing from "../state/comparing";
import { params } from "../state/router";
import { about } from "../state/session";
import { clean, number, seconds } from "../state/words";

const FEWEST = 10;
/** Fewer texts than this show only what nearly all of one pile have and few of the other. */
const MANY = 50;
const MOST_PILES = 12;

export function ComparePage() {
  const lost = useAddress();
  const model = about.value!.model;
  const found = comparing.found.value;
  return (
    <div class="compare">
      <h1>{found ? <>{found.result.findings.length ? "What differs" : "No difference found"}: {found.result.groups.map((group, i) => <>{i ? ", " : ""}<bdi key={i}>{clean(String(group.name))}</bdi></>)}</> : "What has one pile of texts that another has not?"}</h1>
      {!found && <p class="lede">The model reads both on this machine. What it notices more often in one than in the other is listed with how sure that is, beside plain words and whatever else may explain it. Each pile needs {FEWEST} texts; a few hundred are better.</p>}
      {model.state === "none"
        ? <Empty>This server runs without a model, so no text can be read. To compare texts: <code>hooke serve</code> without <code>--model none</code>, or <code>hooke diff</code>.</Empty>
        : found ? <details class="again"><summary>Other texts, other groups</summary><Form /></details> : <Form />}
      {model.state === "failed" && <Failed error={model.detail} />}
      {(comparing.failed.value ?? lost) && <Failed error={(comparing.failed.value ?? lost)!} />}
      <Progress />
      {found && <Differences key={found.id} found={found} />}
    </div>
  );
}

/** Brings back the comparison of the address; gives why it is not to be had. */
function useAddress(): string | null {
  const lost = useSignal<string | null>(null);
  const id = params.value.get("id");
  useEffect(() => {
    lost.value = null;
    if (id && comparing.found.value?.id !== id && !comparing.running.value) {
      api.comparison(id).then((found) => (comparing.found.value = found), (error: Problem) => (lost.value = error.message));
    }
  }, [id]);
  return comparing.found.value ? null : lost.value;
}

function Form() {
  const all = comparing.groups.value;
  const { by, groups } = comparing.choices.value;
  const used = all.filter(([name]) => !comparing.file.value || !groups.length || groups.includes(name));
  const texts = comparing.file.value ? comparing.file.value.table.records : used.reduce((sum, [, n]) => sum + n, 0);
  const wanting = comparing.file.value ? (by ? null : "choose the field of the groups") : missing(used);
  return (
    <form class="groups" aria-label="What to compare" onSubmit={(event) => { event.preventDefault(); if (!wanting) void comparing.start(); }}>
      {comparing.file.value ? <FileOfRecords /> : <Piles />}
      <div class="controls small">
        {about.value!.model.saes.length > 0 && <Layers chosen={comparing.saes} />}
        <button type="submit" class="primary" disabled={!!wanting || comparing.running.value}>Compare</button>
        <span class="soft" role="status">{wanting ?? `${number(texts)} texts${used.some(([, n]) => n < MANY) ? ": few, so that only large differences will show" : ""}`}</span>
      </div>
    </form>
  );
}

/** What piles lack before they can be compared. */
function missing(piles: [string, number][]): string | null {
  if (new Set(piles.map(([name]) => name.trim())).size < piles.length || piles.some(([name]) => !name.trim())) return "each pile needs a name of its own";
  if (piles.every(([, n]) => !n)) return "paste texts, open a file, or try it with headlines";
  const small = piles.filter(([, n]) => n < FEWEST).map(([name, n]) => `“${clean(name)}” has ${n}`);
  return small.length ? `each pile needs ${FEWEST} texts: ${small.join(", ")}` : null;
}

function Piles() {
  const piles = comparing.piles.value;
  const set = (next: comparing.PileOfText[]) => (comparing.piles.value = next);
  const example = async () => {
    comparing.blocks.value = false;
    set((await api.example()).piles!.map((pile) => ({ name: pile.name, text: pile.texts.join("\n") })));
  };
  return (
    <>
      <div class="piles">{piles.map((_, i) => <OnePile key={i} at={i} removable={piles.length > 2} />)}</div>
      <div class="bar-row small">
        <div class="actions">
          <Choice name="What is a text" value={comparing.blocks.value ? "blocks" : "lines"} options={[["lines", "each line is a text"], ["blocks", "empty lines part texts"]]}
            onChange={(value) => (comparing.blocks.value = value === "blocks")} />
          {piles.length < MOST_PILES && <button type="button" class="quiet" onClick={() => set([...piles, { name: next(piles), text: "" }])}>add a pile</button>}
        </div>
        <div class="actions">
          <FileButton>open a file with a field of groups</FileButton>
          <button type="button" class="chip strong" onClick={() => void example()}>try it with headlines</button>
        </div>
      </div>
    </>
  );
}

function next(piles: comparing.PileOfText[]): string {
  return [..."ABCDEFGHIJKL"].find((letter) => piles.every((pile) => pile.name !== letter)) ?? "";
}

function OnePile({ at, removable }: { at: number; removable: boolean }) {
  const pile = comparing.piles.value[at]!;
  const over = useSignal(false);
  const texts = comparing.textsOf(pile.text).length;
  return (
    <fieldset class="box pile" data-over={over.value} onDragOver={(event) => { event.preventDefault(); over.value = true; }} onDragLeave={() => (over.value = false)}
      onDrop={(event) => { event.preventDefault(); over.value = false; const file = event.dataTransfer?.files[0]; if (file) void comparing.take(file, at); }}>
      <legend class="vh">Pile {at + 1}{pile.name.trim() && `, ${clean(pile.name)}`}</legend>
      <div class="bar-row">
        <label class="vh" for={`name-${at}`}>Name of pile {at + 1}{pile.name.trim() && `, ${clean(pile.name)}`}</label>
        <input id={`name-${at}`} type="text" class="title" dir="auto" maxLength={80} spellcheck={false} value={pile.name} onInput={(event) => comparing.edit(at, { name: event.currentTarget.value })} />
        <span class="soft small">{number(texts)} text{texts === 1 ? "" : "s"}</span>
        {removable && <button type="button" class="quiet small" onClick={() => (comparing.piles.value = comparing.piles.value.filter((_, i) => i !== at))}>take away</button>}
      </div>
      <label class="vh" for={`pile-${at}`}>Texts of pile {at + 1}{pile.name.trim() && `, ${clean(pile.name)}`}</label>
      <textarea id={`pile-${at}`} dir="auto" rows={pile.text || innerWidth > 720 ? 8 : 4} spellcheck={false} placeholder="Paste texts, one a line; or drop a file here (.txt; .jsonl and .csv with a field of groups)"
        value={pile.text} onInput={(event) => comparing.edit(at, { text: event.currentTarget.value })} />
    </fieldset>
  );
}

function FileButton({ children }: { children: string }) {
  return (
    <label class="quiet button-like">{children}
      <input type="file" class="vh" accept=".jsonl,.ndjson,.csv,.tsv,.txt" onChange={(event) => { const file = event.currentTarget.files?.[0]; if (file) void comparing.take(file); event.currentTarget.value = ""; }} />
    </label>
  );
}

function FileOfRecords() {
  const { name, content, table } = comparing.file.value!;
  const now = comparing.choices.value;
  const set = (change: Partial<comparing.Choices>) => (comparing.choices.value = { ...now, ...change });
  const grouping = table.fields.filter((field) => field.different > 1 && (now.trend ? field.number : field.different <= table.records / 2));
  const others = [["", "none"], ...table.fields.filter((field) => field.name !== now.by && field.different > 1).map((field) => [field.name, field.name])] as [string, string][];
  const few = comparing.groups.value.length > 2;
  return (
    <div class="box record-file">
      <div class="bar-row"><h2><bdi>{clean(name)}</bdi> <span class="soft small">{number(table.records)} records</span></h2>
        <button type="button" class="quiet small" onClick={() => (comparing.file.value = null)}>back to piles</button></div>
      <div class="filters">
        <Select said="The text is in" value={table.text} options={table.names.map((one) => [one, one])} onChange={(text) => void comparing.open(name, content, text).catch((error: Problem) => (comparing.failed.value = error.message))} />
        <Select said={now.trend ? "Number or date" : "Groups are in"} value={now.by} options={[["", "choose"], ...grouping.map((field) => [field.name, now.trend ? field.name : `${field.name} (${number(field.different)})`] as [string, string])]} onChange={(by) => set({ by, groups: [] })} />
      </div>
      <details class="small"><summary class="soft">what belongs together, pairs, sources</summary><div class="filters">
        <Select said="Belongs together (author, story)" value={now.family} options={others} onChange={(family) => set({ family })} />
        {!now.trend && <Select said="Pairs (a sentence, and it changed)" value={now.pair} options={others} onChange={(pair) => set({ pair })} />}
        <Select said="Where a text is from" value={now.source} options={others} onChange={(source) => set({ source })} />
      </div></details>
      {table.fields.some((field) => field.number) && <label class="check small"><input type="checkbox" checked={now.trend} onChange={(event) => set({ trend: event.currentTarget.checked, by: "", groups: [], pair: "" })} /> a number or a date in the place of groups: what becomes more frequent?</label>}
      {few && !now.trend && (
        <fieldset class="values small"><legend class="soft">Compare only these; none ticked: all</legend>
          {comparing.groups.value.map(([value, n]) => <label key={value} class="check"><input type="checkbox" checked={now.groups.includes(value)}
            onChange={() => set({ groups: now.groups.includes(value) ? now.groups.filter((one) => one !== value) : [...now.groups, value] })} /> <bdi>{clean(value)}</bdi> <span class="soft">{number(n)}</span></label>)}
        </fieldset>
      )}
    </div>
  );
}

function Select({ said, value, options, onChange }: { said: string; value: string; options: [string, string][]; onChange: (value: string) => void }) {
  return <label><span>{said}</span><select value={value} onChange={(event) => onChange(event.currentTarget.value)}>{options.map(([key, text]) => <option key={key} value={key}>{clean(text)}</option>)}</select></label>;
}

function Progress() {
  if (!comparing.running.value) return null;
  const now = comparing.progress.value;
  const share = now?.done ? now.done / now.of : now ? 1 : 0;
  return (
    <section class="under-way" aria-label="Progress">
      {comparing.began.value && <p class="able">{comparing.began.value.able}</p>}
      <Bar share={share} label={now?.done ? `${number(now.done)} of ${number(now.of)} texts read` : "under way"} />
      <div class="bar-row small">
        <span class="soft" role="status">{said()}</span>
        <button type="button" class="quiet" onClick={comparing.cancel}>stop</button>
      </div>
    </section>
  );
}

function said(): string {
  const now = comparing.progress.value;
  if (!now) return about.value!.model.state === "loading" ? "waiting for the model…" : "beginning…";
  if (!now.done) return `${now.said}…`;
  return `${now.said}: ${number(now.done)} of ${number(now.of)} texts${now.left !== null && now.left >= 5 ? `, about ${seconds(now.left)} left` : ""}`;
}
