// Every call the page makes. All go to the server it came from; a problem becomes an error with the server's own sentence.
import type {
  About, ActivationsEvent, CompareEvent, CompareRequest, Compared, Context, FeatureHead, FeaturePage, Fresh, LensEvent, Lists, Note, ProposeEvent, ReadEvent, Relative, RunDetail, RunRow, SaeDetail, SaeRow, Saved,
  SearchPage, SteerEvent, SteerRequest, Stretch, Table, WholeText,
} from "./types";

const BASE = "/api/v1";

export class Problem extends Error {
  constructor(readonly status: number, detail: string) {
    super(detail);
  }
}

export const GONE = "The server does not answer. Start it again: hooke serve";

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(BASE + path, init);
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Problem(0, GONE);
  }
  if (answer.ok) return answer;
  const told = (await answer.json().catch(() => null)) as { detail?: string } | null;
  throw new Problem(answer.status, told?.detail ?? `The server answered ${answer.status}.`);
}

async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call(path, { signal: signal ?? null })).json()) as T;
}

async function send<T>(method: string, path: string, body: unknown, headers: Record<string, string> = {}): Promise<T> {
  const init = { method, headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) };
  const answer = await call(path, init);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

export type Query = Record<string, string | number | boolean | null | undefined | readonly string[]>;

export function query(values: Query): string {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (Array.isArray(value)) value.forEach((one: string) => found.append(key, one));
    else if (value !== null && value !== undefined && value !== "" && value !== false) found.set(key, String(value));
  }
  const text = found.toString();
  return text && `?${text}`;
}

export const api = {
  session: (token: string) => send<void>("POST", "/session", { token }),
  about: () => get<About>("/about"),
  saes: () => get<SaeRow[]>("/saes"),
  sae: (name: string) => get<SaeDetail>(`/saes/${name}`),
  features: (wanted: Query, signal?: AbortSignal) => get<FeaturePage>(`/features${query(wanted)}`, signal),
  feature: (name: string, signal?: AbortSignal) => get<FeatureHead>(`/features/${name}`, signal),
  examples: (name: string) => get<{ stretches: Stretch[] }>(`/features/${name}/examples`),
  misses: (name: string) => get<{ passages: Context[] }>(`/features/${name}/near-misses`),
  fresh: (name: string, signal?: AbortSignal) => get<Fresh>(`/features/${name}/fresh`, signal),
  neighbours: (name: string) => get<{ alike: Relative[]; together: Relative[] }>(`/features/${name}/neighbours`),
  search: (wanted: Query, signal?: AbortSignal) => get<SearchPage>(`/search${query(wanted)}`, signal),
  /** With `etag`, only what is still as it was when that was given. */
  write: (name: string, change: { star?: boolean; note?: string; label?: string }, etag?: string) =>
    send<Note>("PUT", `/notes/${name}`, change, etag ? { "If-Match": `"${etag}"` } : {}),
  save: (text: string) => send<Saved>("POST", "/saved", { text }),
  saved: (id: string) => get<Saved>(`/saved/${encodeURIComponent(id)}`),
  notes: () => get<unknown>("/notes"),
  loadNotes: (document: unknown) => send<{ taken: number }>("POST", "/notes", document),
  lists: () => get<Lists>("/lists"),
  enlist: (list: string, name: string, out: boolean) =>
    send<Note>(out ? "DELETE" : "PUT", `/lists/${encodeURIComponent(list)}/${name}`, {}),
  table: (content: string, name: string, text: string) => send<Table>("POST", "/compare/table", { content, name, text }),
  example: () => get<CompareRequest>("/compare/example"),
  comparison: (id: string) => get<Compared>(`/compare/${encodeURIComponent(id)}`),
  behind: (id: string, text: number) => get<WholeText>(`/compare/${encodeURIComponent(id)}/texts/${text}`),
  runs: () => get<{ folders: string[]; runs: RunRow[] }>("/runs"),
  run: (path: string) => get<RunDetail>(`/run${query({ path })}`),
};

/** Where a finished comparison can be fetched as a file. */
export function exported(id: string, form: "html" | "csv"): string {
  return `${BASE}/compare/${encodeURIComponent(id)}/as/${form}`;
}

/** What the model finds, as it finds it; ends early when `signal` says so. */
export function analyze(asked: { texts: string[]; saes?: string[]; top?: number }, signal: AbortSignal): AsyncGenerator<ReadEvent> {
  return events<ReadEvent>("/analyze", asked, signal);
}

/** What some features do on every token. */
export function activations(asked: { texts: string[]; features: string[] }, signal: AbortSignal): AsyncGenerator<ActivationsEvent> {
  return events<ActivationsEvent>("/activations", asked, signal);
}

/** Where a feature or a list can be fetched as a file. */
export function exportOf(kind: "feature" | "list", id: string, form: "html" | "json" | "csv" | "md"): string {
  return `${BASE}/export/${kind}/${id.split("/").map(encodeURIComponent).join("/")}?as=${form}`;
}

/** Has what writes loaded, before it is asked for; whoever asks then is told what goes wrong. */
export async function prepare(): Promise<void> {
  try {
    for await (const _ of events("/prepare", {}, new AbortController().signal)) { /* nothing is shown of it */ }
  } catch { /* said where something is asked for */ }
}

/** Texts with features turned, as they are written. */
export function steer(asked: SteerRequest, signal: AbortSignal): AsyncGenerator<SteerEvent> {
  return events<SteerEvent>("/steer", asked, signal);
}

/** Features that make the model write some words: those that are known at once, and unless `measure` is false, many measured now. */
export function propose(asked: { words: string; measure?: boolean }, signal: AbortSignal): AsyncGenerator<ProposeEvent> {
  return events<ProposeEvent>("/propose", asked, signal);
}

/** One text through every layer, the last first. */
export function lens(asked: { text: string; beside?: string | null; words?: number; features?: boolean }, signal: AbortSignal): AsyncGenerator<LensEvent> {
  return events<LensEvent>("/lens", asked, signal);
}

/** How a comparison goes, and what it finds; ends early when `signal` says so. */
export function compare(asked: Partial<CompareRequest>, signal: AbortSignal): AsyncGenerator<CompareEvent> {
  return events<CompareEvent>("/compare", asked, signal);
}

async function* events<T>(path: string, asked: unknown, signal: AbortSignal): AsyncGenerator<T> {
  const init = { method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) };
  const answer = await call(path, init);
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop()!;
    for (const block of blocks) {
      const found = /^event: (\w+)\ndata: (.*)$/s.exec(block);
      if (found) yield { event: found[1], data: JSON.parse(found[2]!) } as T;
    }
  }
}
