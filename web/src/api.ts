// The studio's API, typed. Every failure is an Error with the server's own sentence.

export type State = "queued" | "running" | "done" | "failed" | "cancelled" | "deleted";
export interface Painted { file: string; prompt: string; seed: number; likeness?: number | null; reason?: string | null;
  cosines?: Record<string, number>; explained?: string[]; warnings?: string[]; timings_s?: Record<string, number> }
export interface Result { folder?: string; pictures?: Painted[]; warnings?: string[]; stopped?: boolean;
  likeness?: { encoders: Record<string, string>; own_pictures: number | null; mean: number | null; reason: string | null };
  settings?: Record<string, unknown>; peak_memory_mib?: { process: number | null; cuda: number | null };
  timings_s?: Record<string, number>; identical?: boolean;
  differences?: { what: string; before: string; now: string }[]; of?: string;
  name?: string; pictures_count?: number; people_count?: number; sitters?: boolean; left_out?: Record<string, string>;
  run?: string; score?: number | null; best_step?: number; steps?: number; seconds?: number }
export interface Job { id: string; number: number; kind: string; state: State; request: Record<string, any>; group: string | null;
  created: number; started: number | null; finished: number | null; attempt: number; cancelling: boolean; step: number;
  steps: number; doing: string; preview: number; result: Result | null; error: string | null; version: number }
export interface Verdict { status: string; score?: number; reasons: { subject?: string; status?: string; sentence: string }[];
  faces?: { box_xyxy: number[] }[] }
export interface Picture { id: string; person: string; label: string; width: number; height: number; sitter: boolean; verdict: Verdict | null }
export interface Person { id: string; name: string; kind: "sitter" | "real"; consent: { given_by: string; statement: string; at: number } | null;
  pictures: Picture[] }
export interface Field { type?: string; anyOf?: Field[]; enum?: unknown[]; const?: unknown; default?: unknown; description?: string; title?: string;
  minimum?: number; maximum?: number; items?: Field; prefixItems?: Field[]; $ref?: string }
export interface Schema { properties?: Record<string, Field>; $defs?: Record<string, Field & Schema> }
export interface Method { name: string; title: string; paper_url: string; task: string; references: { min: number; max: number };
  options: Schema; adapters: string[]; own_adapter: boolean; trainable: boolean; missing: string; licences: Record<string, string> }
export interface About { version: string; base: string; counts: Record<string, number>; change: number }

export class Refused extends Error { constructor(words: string, readonly code: number) { super(words); } }

async function ask(path: string, init?: RequestInit): Promise<Response> {
  let reply: Response;
  try {
    reply = await fetch("/api" + path, init);
  } catch {
    throw new Refused("The studio does not answer: is it still running?", 0);
  }
  if (reply.ok) return reply;
  let words = `The studio answered ${reply.status}.`;
  try { words = (await reply.json()).error ?? words; } catch { /* no JSON: the code has to do */ }
  throw new Refused(words, reply.status);
}

const json = (method: string, body: unknown, more: Record<string, string> = {}): RequestInit =>
  ({ method, headers: { "Content-Type": "application/json", ...more }, body: JSON.stringify(body) });
const key = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (b) => b.toString(16).padStart(2, "0")).join("");

export const get = async <T>(path: string): Promise<T> => (await ask(path)).json();
export const post = async <T>(path: string, body: unknown = {}): Promise<T> => (await ask(path, json("POST", body))).json();
export const put = async <T>(path: string, body: unknown): Promise<T> => (await ask(path, json("PUT", body))).json();
export const remove = async (path: string): Promise<void> => { await ask(path, { method: "DELETE" }); };
export const submit = async (task: Record<string, unknown>): Promise<Job> =>
  (await ask("/jobs", json("POST", task, { "Idempotency-Key": key() }))).json();
export const blob = async (path: string, body: unknown): Promise<Blob> => (await ask(path, json("POST", body))).blob();
export const upload = async (person: string, file: Blob, label: string): Promise<Picture> =>
  (await ask(`/people/${person}/pictures?label=${encodeURIComponent(label.slice(0, 200))}`, { method: "POST", body: file })).json();
export const frame = (method: string, data: Blob, settings: unknown) =>
  ask(`/live/${method}/frame`, { method: "POST", body: data, headers: { "X-Settings": encodeURIComponent(JSON.stringify(settings)) } });

export const fileOf = (job: Job, name: string) => `/api/jobs/${job.id}/files/${encodeURIComponent(name)}`;
export const pictureOf = (id: string) => `/api/pictures/${id}/file`;
export const previewOf = (job: Job) => `/api/jobs/${job.id}/preview?n=${job.attempt}.${job.preview}`;
