// Runs: training, harvests and atlases being built, as their folders tell them. Nothing here can change them.
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client";
import type { Curve, RunRow } from "../api/types";
import { Bar, Empty, Failed } from "../parts/Bits";
import { useLoaded } from "../state/load";
import { go, params, withParams } from "../state/router";
import { ago, clean, number, percent, seconds } from "../state/words";

const EVERY = 3000;
const KINDS: Record<string, string> = { train: "training", atlas: "atlas being built" };

export function RunsPage() {
  const { value, error, again } = useLoaded("runs", () => api.runs());
  const open = params.value.get("run");
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && again(), EVERY);
    return () => clearInterval(timer);
  });
  if (error) return <Failed error={error} again={again} />;
  return (
    <div class="runs">
      <h1>Runs</h1>
      <p class="lede">Training, harvests and atlases being built, read from their folders{value ? <> in {value.folders.map((folder, i) => <>{i ? ", " : ""}<code key={folder}>{folder}</code></>)}</> : ""}. This page looks on; it changes nothing.</p>
      {value && !value.runs.length && <Empty>No run is in these folders. Another place: <code>hooke serve --runs FOLDER</code>. Begin one: <code>hooke train --help</code></Empty>}
      <ul class="cards">{value?.runs.map((run) => <Run key={run.path} run={run} open={open === run.path} />)}</ul>
    </div>
  );
}

function Run({ run, open }: { run: RunRow; open: boolean }) {
  const share = run.done !== null && run.planned ? run.done / run.planned : null;
  return (
    <li class="card">
      <div class="bar-row"><h2>{run.path.split("/").slice(-2).join("/")}</h2><span class={`state ${run.state.replace(" ", "-")}`}>{run.kind === "unreadable" ? run.state : `${KINDS[run.kind] ?? run.kind}, ${run.state}`}</span></div>
      {share !== null && <Bar share={share} label={`${percent(share)} done`} />}
      <p class="small soft">{[
        run.model, run.done !== null && `${number(run.done)} ${run.planned ? `of ${number(run.planned)} ` : ""}tokens`, run.rate && `${number(run.rate)} tokens a second`,
        !!run.left_s && `${seconds(run.left_s)} left`, clean(run.detail), `${run.state === "finished" ? "finished" : "last sign of life"} ${ago(run.changed)}`,
      ].filter(Boolean).join(" · ")}</p>
      {run.kind === "train" && <button type="button" class="quiet small" aria-expanded={open} onClick={() => go(withParams({ run: open ? null : run.path }), true)}>{open ? "hide curves" : "curves and warnings"}</button>}
      {open && run.kind === "train" && <Detail path={run.path} changed={run.changed} />}
    </li>
  );
}

function Detail({ path, changed }: { path: string; changed: number }) {
  const { value, error } = useLoaded(`run ${path} ${changed}`, () => api.run(path));
  const [which, choose] = useState(0);
  if (error) return <Failed error={error} />;
  if (!value) return <Empty>Reading…</Empty>;
  const curve = value.curves[Math.min(which, value.curves.length - 1)];
  return (
    <div class="detail">
      {value.curves.length > 1 && <label class="small">SAE <select onChange={(event) => choose(event.currentTarget.selectedIndex)}>{value.curves.map((one) => <option key={one.name}>{one.name}</option>)}</select></label>}
      {curve && <div class="plots"><Plot curve={curve} of="fvu" said="not explained" /><Plot curve={curve} of="l0" said="features on a token" /><Plot curve={curve} of="dead" said="share of dead features" /></div>}
      {value.events.length > 0 && <ul class="small events">{value.events.slice(0, 12).map((event, i) => <li key={i} class={event.kind === "warning" ? "warning" : "soft"}>{clean(String(event.kind ?? ""))}: {clean(String(event.text ?? ""))}</li>)}</ul>}
    </div>
  );
}

function Plot({ curve, of, said }: { curve: Curve; of: "fvu" | "l0" | "dead"; said: string }) {
  const points = (curve[of] ?? []).map((value, i) => [curve.tokens?.[i] ?? 0, value] as const).filter((pair): pair is readonly [number, number] => pair[1] !== null);
  if (points.length < 2) return <figure><figcaption class="small">{said}: not measured yet</figcaption></figure>;
  const right = points.at(-1)![0] || 1;
  const top = Math.max(...points.map(([, value]) => value)) || 1;
  const line = points.map(([x, value]) => `${((100 * x) / right).toFixed(2)},${(40 - (38 * value) / top).toFixed(2)}`).join(" ");
  const last = points.at(-1)![1];
  return (
    <figure class="plot">
      <figcaption class="small">{said}: <b>{number(last)}</b> <span class="soft">at most {number(top)}</span></figcaption>
      <svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label={`${said} over ${number(right)} tokens, from ${number(points[0]![1])} to ${number(last)}`}><polyline points={line} /></svg>
      <details><summary class="small soft">as a table</summary><table><thead><tr><th scope="col">tokens</th><th scope="col">{said}</th></tr></thead>
        <tbody>{points.filter((_, i) => i % Math.ceil(points.length / 12) === 0).map(([x, value]) => <tr key={x}><td>{number(x)}</td><td>{number(value)}</td></tr>)}</tbody></table></details>
    </figure>
  );
}
