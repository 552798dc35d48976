// Layers by tokens: a table in which arrows move and Enter holds a token.
import { useRef, useState } from "preact/hooks";
import type { LayerReading, SaeReading } from "../api/types";
import { clean, number, percent } from "../state/words";
import { Label } from "./Text";

export interface Place { row: number; pos: number }

const NATS = [4, 2, 1, 0.5, 0.25];

function nearness(kl: number): number {
  return NATS.filter((most) => kl <= most).length;
}

export function Grid({ tokens, layers, saes, held, onHold }: {
  tokens: readonly string[]; layers: readonly LayerReading[]; saes: readonly SaeReading[]; held: number | null; onHold: (place: Place) => void;
}) {
  const table = useRef<HTMLTableElement>(null);
  const [at, move] = useState<Place>({ row: layers.length - 1, pos: 0 });
  const row = Math.min(at.row, layers.length - 1), pos = Math.min(at.pos, tokens.length - 1);
  const walk = (event: KeyboardEvent) => {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [0, 0];
    if (event.key === "Enter" || event.key === " ") onHold({ row, pos });
    else if (down || right) {
      const next = { row: Math.max(0, Math.min(layers.length - 1, row + down!)), pos: Math.max(0, Math.min(tokens.length - 1, pos + right!)) };
      move(next);
      table.current?.querySelector<HTMLElement>(`[data-cell="${next.row} ${next.pos}"]`)?.focus();
    } else return;
    event.preventDefault();
  };
  const bySae = new Map(saes.map((one) => [one.layer, one]));
  return (
    <div class="scroll">
      <table class="movie" role="grid" ref={table} aria-label="Layers by tokens; arrow keys move, Enter follows a token" onKeyDown={walk}>
        <thead><tr role="row"><th scope="col" class="small soft">layer</th>{tokens.map((token, i) => <th key={i} scope="col" class={i === held ? "held" : ""}><bdi>{clean(token).trim() || "␣"}</bdi></th>)}</tr></thead>
        <tbody>{layers.map((layer, r) => {
          const own = bySae.get(layer.layer);
          return (
            <>
              <tr key={layer.layer} role="row">
                <th scope="row" role="rowheader" class="small">{layer.layer}</th>
                {tokens.map((_, i) => (
                  <td key={i} role="gridcell" data-cell={`${r} ${i}`} tabIndex={r === row && i === pos ? 0 : -1} aria-selected={i === held} class={`s${nearness(layer.kl[i]!)}${layer.rank[i] === 1 ? " first" : ""}${i === held ? " held" : ""}`}
                    title={`${layer.words[i]!.map((word, k) => `${clean(word).trim() || "␣"} ${percent(layer.probabilities[i]![k]!)}`).join(" · ")}; ${layer.kl[i]!.toFixed(2)} nats from the end; the model's own word is number ${number(layer.rank[i])} here`}
                    onFocus={() => move({ row: r, pos: i })} onClick={() => onHold({ row: r, pos: i })}><bdi>{clean(layer.words[i]![0]).trim() || "␣"}</bdi></td>
                ))}
              </tr>
              {own && (
                <tr key={`${layer.layer} features`} role="row" class="of">
                  <th scope="row" role="rowheader" class="small">features</th>
                  {own.top.map((one, i) => <td key={i} role="gridcell">{one ? <a href={`/f/${one.feature}`} tabIndex={-1} title={`${percent(one.relative)} of its strongest`}><Label text={own.titles[one.feature] ?? one.feature} /></a> : <span class="soft">–</span>}</td>)}
                </tr>
              )}
            </>
          );
        })}</tbody>
      </table>
    </div>
  );
}
