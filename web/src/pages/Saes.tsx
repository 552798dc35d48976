// SAEs: what the features come from, and how good it is.
import { api } from "../api/client";
import type { SaeRow } from "../api/types";
import { Elsewhere, Empty, Failed } from "../parts/Bits";
import { useLoaded } from "../state/load";
import { about } from "../state/session";
import { number, percent, place } from "../state/words";

const COLUMNS: [string, (row: SaeRow) => string][] = [
  ["features", (row) => number(row.d_sae)],
  ["fire on a token", (row) => number(row.l0)],
  ["have a name", (row) => (row.named === null ? "not measured" : percent(row.named / row.d_sae))],
  ["never fired", (row) => number(row.dead)],
  ["explains of its text", (row) => percent(row.explained)],
  ["of headlines", (row) => percent(row.explained_headlines)],
  ["tokens read", (row) => number(row.tokens)],
  ["reads your texts", (row) => (row.ready ? "yes" : about.value!.model.state === "loading" ? "soon" : "no")],
];

export function SaesPage() {
  const { value, error, again } = useLoaded(`saes ${about.value!.model.state}`, () => api.saes());
  if (error) return <Failed error={error} again={again} />;
  return (
    <div>
      <h1>Sparse autoencoders</h1>
      <p class="lede">Each takes apart what the model computes at one place into features, of which some fifty of thousands fire on a token (a word, or a piece of one). Another one would cut the same thing otherwise.</p>
      {value && !value.length && <Empty>No atlas is open. The default pack brings one: <code>pip install hooke-gemma-3-270m</code></Empty>}
      {!!value?.length && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Table of sparse autoencoders">
          <table class="saes">
            <thead><tr>
              <th scope="col">at</th>{COLUMNS.map(([name]) => <th key={name} scope="col">{name}</th>)}
            </tr></thead>
            <tbody>{value.map((row) => (
              <tr key={row.name}>
                <th scope="row"><a href={`/saes/${row.name}`}>{place(row.name)}</a><br /><code class="soft small">{row.name}</code></th>
                {COLUMNS.map(([name, told]) => <td key={name} data-of={name}>{told(row)}</td>)}
              </tr>
            ))}</tbody>
          </table>
        </div>
      )}
      <p class="soft small after">“Fire on a token” is how many features are active at a time, on average (L0). “Explains” is how much of the model's activations (their variance) the features together rebuild, on the text of its atlas and on headlines. What is not rebuilt is not shown anywhere on these pages.</p>
      <Elsewhere command="hooke saes --json" json={() => value} />
    </div>
  );
}
