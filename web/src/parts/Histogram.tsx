// How strongly a feature fires where it fires: bars by the logarithm, and the same numbers as a table.
import { number, percent } from "../state/words";

export function Histogram({ counts, most, marker }: { counts: number[]; most: number; marker: number | null }) {
  const logs = counts.map((n) => Math.log1p(Math.max(0, n)));
  const top = Math.max(...logs, 1e-9);
  const at = (i: number) => number((most * i) / counts.length);
  return (
    <figure class="histogram">
      <svg viewBox={`0 0 ${counts.length} 20`} preserveAspectRatio="none" role="img" aria-label="How often it fires how strongly; the table below has the numbers">
        {logs.map((log, i) => log > 0 && <rect key={i} x={i} y={20 - (20 * log) / top} width="0.84" height={(20 * log) / top} />)}
        {marker !== null && marker > 0 && <line x1={Math.min(1, marker / most) * counts.length} x2={Math.min(1, marker / most) * counts.length} y1="0" y2="20" />}
      </svg>
      <figcaption class="small soft">
        <span>weakly</span>
        <span>{marker !== null && marker > 0 ? `your text: ${percent(marker / most)} of the strongest` : "heights: how often, by logarithm"}</span>
        <span>strongly</span>
      </figcaption>
      <details>
        <summary class="small soft">as a table</summary>
        <table>
          <thead><tr><th scope="col">activation</th><th scope="col">tokens</th></tr></thead>
          <tbody>{counts.map((n, i) => n > 0 && <tr key={i}><td>{at(i)} to {at(i + 1)}</td><td>{number(n)}</td></tr>)}</tbody>
        </table>
      </details>
    </figure>
  );
}
