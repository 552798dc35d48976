// Values that come from the server: the newest request wins, older ones are ended.
import { useEffect, useState } from "preact/hooks";
import type { Problem } from "../api/client";

export interface Loaded<T> {
  value: T | null;
  error: string | null;
  /** HTTP status of the error; 0 where there is none, or no answer. */
  status: number;
  again: () => void;
}

/** What `fetch` gives, asked again whenever `key` changes; the old value stays until the new one is there. */
export function useLoaded<T>(key: string, fetch: (signal: AbortSignal) => Promise<T>, delay = 0): Loaded<T> {
  const [state, set] = useState<{ key: string; value: T | null; error: string | null; status: number }>({ key, value: null, error: null, status: 0 });
  const [round, turn] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    const timer = setTimeout(() => {
      fetch(stop.signal).then(
        (value) => !stop.signal.aborted && set({ key, value, error: null, status: 0 }),
        (error: Problem) => !stop.signal.aborted && set({ key, value: null, error: error.message, status: error.status ?? 0 }),
      );
    }, delay);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, round]);
  return { value: state.value, error: state.error, status: state.status, again: () => turn(round + 1) };
}
