// The figures of a feature, one a line, and the tokens it spends most on.
import type { FeatureHead } from "../api/types";
import { clean, number, percent, spelt } from "../state/words";

export function Figures({ head }: { head: FeatureHead }) {
  const one = head.feature;
  const label = one.label;
  const score = label?.token ?? label?.document;
  const topics = Object.entries(one.topics ?? {}).filter(([topic, nats]) => nats > 0.5 && topic !== "none").sort((a, b) => b[1] - a[1]).slice(0, 3);
  const rows: [string, string][] = [
    ["fires on", `${percent(one.density)} of tokens${one.count ? `, ${number(one.count)} of ${number(head.tokens_read)} read` : ""}${one.documents ? `, in ${number(one.documents)} documents` : ""}`],
    ["strongest activation", number(one.max)],
    ...(one.mean ? [["on average, where it fires", number(one.mean)] as [string, string]] : []),
    ...(one.commonest ? [["always the same token?", `${percent(one.commonest)} of its places are one token`] as [string, string]] : []),
    ...(score ? [["its rule tells its places from others", `${score.value.toFixed(2)} [${score.low?.toFixed(2) ?? "?"}, ${score.high?.toFixed(2) ?? "?"}]; 0.5 is chance, 1 always`] as [string, string]] : []),
    ...(label?.near != null ? [["the same beside near misses", label.near.toFixed(2)] as [string, string]] : []),
    ...(label?.control != null ? [["a rule found for shuffled places", `${label.control.toFixed(2)}; 0.5 is chance`] as [string, string]] : []),
    ...(topics.length ? [["texts it fires in are on", topics.map(([topic]) => topic).join("; ")] as [string, string]] : []),
    ["kind of rule", label?.kind ?? "none"],
    ["fingerprint of its SAE's weights", head.digest.slice(0, 12) || "not recorded"],
  ];
  return (
    <details class="of-it after">
      <summary><h2>Figures, for those who want to know exactly</h2></summary>
      <dl class="figures small">{rows.map(([name, value]) => <div key={name}><dt>{name}</dt><dd><bdi>{clean(value)}</bdi></dd></div>)}</dl>
      {!!one.tokens?.length && (
        <>
          <h3>Tokens it spends most on</h3>
          <p class="small soft">Where it fires at all, its many weak places included: these often lie on small words. A token is a word, or a piece of one.</p>
          <table class="small">
            <thead><tr><th scope="col">token</th><th scope="col">times</th><th scope="col">share</th></tr></thead>
            <tbody>{one.tokens.slice(0, 8).map((token, i) => <tr key={i}><td><bdi>{spelt(token.text)}</bdi></td><td>{number(token.count)}</td><td>{percent(token.share)}</td></tr>)}</tbody>
          </table>
        </>
      )}
    </details>
  );
}
