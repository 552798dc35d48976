// Features: all of them, any sort, any filter, the address says which.
import { useEffect, useState } from "preact/hooks";
import { api, exportOf } from "../api/client";
import type { FeatureRow } from "../api/types";
import { Choice, Empty, Failed, Trust } from "../parts/Bits";
import { helpAt } from "../parts/Frame";
import { Gather, Pick, picked } from "../parts/Gather";
import { Label } from "../parts/Text";
import { VirtualList } from "../parts/VirtualList";
import { useLoaded } from "../state/load";
import { go, params, withParams } from "../state/router";
import { clean, KINDS, layerOf, number, percent } from "../state/words";

const COLUMNS = [["label", "name"], ["score", "how far the name holds"], ["density", "fires on"], ["max", "strongest"], ["layer", "layer, number"]] as const;
export function FeaturesPage() {
  const at = params.value;
  const [total, setTotal] = useState<number | null>(null);
  const [kinds, setKinds] = useState<Record<string, number>>({});
  const [error, fail] = useState<string | null>(null);
  const [narrow, setNarrow] = useState(innerWidth < 960);
  const { value: saes } = useLoaded("saes", () => api.saes());
  useEffect(() => {
    const look = () => setNarrow(innerWidth < 960);
    addEventListener("resize", look);
    return () => removeEventListener("resize", look);
  }, []);
  const sort = at.get("sort") ?? "named";
  const up = at.get("up") === "1";
  const which = at.get("which");
  const wanted = {
    sae: at.getAll("sae"), kind: at.getAll("kind"), q: at.get("q"), which: at.get("which"), sort, ascending: sort === "label" || sort === "layer" ? !up : up,
    rating: at.get("rating"), max_density: at.get("max_density"),
  };
  const id = JSON.stringify(wanted);
  useEffect(() => fail(null), [id]);
  const set = (changes: Record<string, string | readonly string[] | null>, typed = false) => go(withParams(changes), typed);
  return (
    <div class="features">
      <div class="bar-row">
        <h1>{title(at.get("which"))}</h1>
        <p class="soft small" role="status">{total === null ? "" : `${number(total)} feature${total === 1 ? "" : "s"}`}{sort === "named" && ", the best named first"}. <button type="button" class="quiet" onClick={() => (helpAt.value = "ratings")}>What do these ratings mean?</button></p>
      </div>
      <form class="filters" onSubmit={(event) => event.preventDefault()} aria-label="Filters">
        <label><span>Words in the name</span><input type="search" value={at.get("q") ?? ""} onInput={(event) => set({ q: event.currentTarget.value }, true)} /></label>
        <label><span>Layer</span><select value={at.get("sae") ?? ""} onChange={(event) => set({ sae: event.currentTarget.value || null })}>
          <option value="">all</option>{saes?.map((row) => <option key={row.name} value={row.name}>{row.layer} · {row.name.split("/").slice(1).join(" ")}</option>)}</select></label>
        <label><span>Its name</span><select value={at.get("rating") ?? ""} onChange={(event) => set({ rating: event.currentTarget.value || null })}>
          <option value="">any</option><option value="sometimes fits">sometimes fits or more</option><option value="usually fits">usually fits</option></select></label>
        <label><span>Fires on</span><select value={at.get("max_density") ?? ""} onChange={(event) => set({ max_density: event.currentTarget.value || null })}>
          <option value="">any share</option><option value="0.1">under 10 % of tokens</option><option value="0.01">under 1 %</option><option value="0.001">under 0.1 %</option></select></label>
        <label><span>Yours</span><select value={at.get("which") ?? ""} onChange={(event) => set({ which: event.currentTarget.value || null })}>
          <option value="">all</option><option value="starred">starred</option><option value="noted">with a note</option>{at.get("which")?.startsWith("list:") && <option value={at.get("which")!}>{at.get("which")!.slice(5)}</option>}</select></label>
      </form>
      <Choice name="What they are" value={at.get("kind") ?? ""} onChange={(kind) => set({ kind: kind || null })}
        options={[["", "all"], ...Object.entries(KINDS).filter(([kind]) => kinds[kind]).map(([kind, text]) => [kind, `${text} ${number(kinds[kind])}`] as const)]} />
      <div class="small actions-row"><Gather />{which && <span class="soft">as a file: {(["csv", "md", "json"] as const).map((form) => <><a href={exportOf("list", which.replace(/^list:/, ""), form)} download>{form.toUpperCase()}</a> </>)}</span>}</div>
      {error && <Failed error={error} />}
      <div role="table" aria-label="Features" aria-rowcount={(total ?? 0) + 1} class="grid">
        <div role="rowgroup"><div role="row" class="row head" aria-rowindex={1}>
          <span class="sort-by soft small" aria-hidden="true">sort by</span>
          {COLUMNS.map(([key, text]) => (
            <span key={key} role="columnheader" class={`c-${key}`} aria-sort={sort === key ? (wanted.ascending ? "ascending" : "descending") : "none"}>
              <button type="button" onClick={() => set({ sort: key, up: sort === key && !up ? "1" : null })}>{text}{sort === key ? (up ? " ↑" : " ↓") : ""}</button>
            </span>
          ))}
        </div></div>
        <VirtualList<FeatureRow> id={id} height={narrow ? 92 : 44} label="Features" onError={fail}
          fetch={(from, limit, signal) => api.features({ ...wanted, cursor: from, limit }, signal)}
          onTotal={(n, first) => { setTotal(n); setKinds((first as unknown as { kinds: Record<string, number> }).kinds); }}
          row={(row) => <Cells row={row} />} />
      </div>
      {total === 0 && <Empty>Nothing passes these filters. <a href="/features">Show all features</a>.</Empty>}
    </div>
  );
}

function title(which: string | null): string {
  if (which === "starred") return "Starred features";
  if (which === "noted") return "Features with a note or name of yours";
  return which?.startsWith("list:") ? which.slice(5) : "Features";
}

function Cells({ row }: { row: FeatureRow }) {
  return (
    <>
      <span role="cell" class="c-label">{picked.value && <><Pick name={row.name} title={row.own_label || row.label} /> </>}{row.star && <span class="starred" role="img" aria-label="starred">★ </span>}<a href={`/f/${row.name}`}><Label text={row.label} own={row.own_label} /></a>{row.note && <span class="soft small"> {clean(row.note)}</span>}</span>
      <span role="cell" class="c-score"><Trust rating={row.rating} /></span>
      <span role="cell" class="c-density"><span class="phone soft" aria-hidden="true">fires on </span>{percent(row.density)}</span>
      <span role="cell" class="c-max soft">{number(row.max)}</span>
      <span role="cell" class="c-layer soft"><span class="phone" aria-hidden="true">layer </span>{layerOf(row.sae)}<span class="small"> · {row.index}</span></span>
    </>
  );
}
