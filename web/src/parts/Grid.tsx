// Layers by tokens: a table in which arrows move and Enter holds a token.
import type { ComponentChildren } from "preact";
import { useRef, useState } from "preact/hooks";

/** What stands in a cell: its tint from 0 to 5, whether it is set in bold, and what is said of it when it is pointed at. */
export interface Cell { shown: ComponentChildren; tint: number; strong: boolean; said: string }
/** A layer, and the features between it and the next where there is an SAE. */
export interface LayerRow { layer: number; cells: Cell[]; features: ComponentChildren[] | null }

/** The first `faint` rows stay folded until they are asked for; features between them are shown. */
export function Grid({ heads, rows: every, faint = 0, held, onHold }: { heads: readonly ComponentChildren[]; rows: readonly LayerRow[]; faint?: number; held: number | null; onHold: (pos: number) => void }) {
  const table = useRef<HTMLTableElement>(null);
  const [whole, unfold] = useState(false);
  const folded = whole || faint < 2 ? 0 : faint;
  const rows = every.slice(folded);
  const [at, move] = useState({ row: rows.length - 1, pos: 0 });
  const row = Math.min(at.row, rows.length - 1), pos = Math.min(at.pos, heads.length - 1);
  const walk = (event: KeyboardEvent) => {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    if (event.key === "Enter" || event.key === " ") onHold(pos);
    else if (down || right) {
      const next = { row: Math.max(0, Math.min(rows.length - 1, row + down!)), pos: Math.max(0, Math.min(heads.length - 1, pos + right!)) };
      move(next);
      table.current?.querySelector<HTMLElement>(`[data-cell="${next.row} ${next.pos}"]`)?.focus();
    } else return;
    event.preventDefault();
  };
  return (
    <div class="scroll snap">
      <table class="movie" role="grid" ref={table} aria-label="Layers by tokens; arrow keys move, Enter follows a token" onKeyDown={walk}>
        <thead><tr role="row"><th scope="col" class="small soft">layer</th>{heads.map((head, i) => <th key={i} scope="col" class={i === held ? "held" : ""}>{head}</th>)}</tr></thead>
        <tbody>
          {faint > 1 && <tr role="row" class="fold"><th scope="row" role="rowheader" class="small">0–{faint - 1}</th><td role="gridcell" colSpan={heads.length}><button type="button" class="quiet small" aria-expanded={whole} onClick={() => unfold(!whole)}>{whole ? "hide" : "show"} the first {faint} layers: they speak in fragments</button></td></tr>}
          {every.slice(0, folded).map((layer) => layer.features && <Features key={`${layer.layer} features`} layer={layer} />)}
          {rows.map((layer, r) => (
          <>
            <tr key={layer.layer} role="row">
              <th scope="row" role="rowheader" class="small">{layer.layer}</th>
              {layer.cells.map((cell, i) => (
                <td key={i} role="gridcell" data-cell={`${r} ${i}`} tabIndex={r === row && i === pos ? 0 : -1} aria-selected={i === held}
                  class={`s${cell.tint}${cell.strong ? " first" : ""}${i === held ? " held" : ""}`} title={cell.said} onFocus={() => move({ row: r, pos: i })} onClick={() => onHold(i)}>{cell.shown}</td>
              ))}
            </tr>
            {layer.features && <Features key={`${layer.layer} features`} layer={layer} />}
          </>
        ))}</tbody>
      </table>
    </div>
  );
}

/** What fires between a layer and the next. */
function Features({ layer }: { layer: LayerRow }) {
  return (
    <tr role="row" class="of">
      <th scope="row" role="rowheader" class="small" title={`after layer ${layer.layer}`}>features {layer.layer}</th>
      {layer.features!.map((one, i) => <td key={i} role="gridcell">{one}</td>)}
    </tr>
  );
}
