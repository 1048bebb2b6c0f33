// What every page shares: jobs as the server tells of them, methods, people, and where one is.

import { useEffect, useState } from "preact/hooks";
import { get, type About, type Job, type Method, type Person } from "./api";

type Listener = () => void;

class Shared {
  jobs = new Map<string, Job>();
  methods: Method[] | null = null;
  people: Person[] | null = null;
  about: About | null = null;
  connected = true;
  trouble = "";
  private listeners = new Set<Listener>();

  on(listener: Listener) { this.listeners.add(listener); return () => { this.listeners.delete(listener); }; }
  tell() { for (const listener of [...this.listeners]) listener(); }

  async begin() {
    try {
      this.about = await get<About>("/about");
      this.follow(this.about.change);
      const [methods, people, page] = await Promise.all([get<Method[]>("/methods"), get<Person[]>("/people"),
        get<{ jobs: Job[] }>("/jobs?limit=60")]);
      this.methods = methods;
      this.people = people;
      for (const job of page.jobs) this.take(job);
    } catch (error) {
      this.trouble = (error as Error).message;
    }
    this.tell();
  }

  take(job: Job) {
    const known = this.jobs.get(job.id);
    if (known && known.version > job.version) return;
    if (job.state === "deleted") this.jobs.delete(job.id); else this.jobs.set(job.id, job);
  }

  async refreshPeople() { this.people = await get<Person[]>("/people"); this.tell(); }

  private follow(since: number) {
    const stream = new EventSource(`/api/events?since=${since}`);
    let waiting = 0;
    stream.onmessage = (event) => {
      this.take(JSON.parse(event.data));
      // A burst of changes is one redraw.
      waiting ||= requestAnimationFrame(() => { waiting = 0; this.tell(); });
    };
    stream.onopen = () => { if (!this.connected) { this.connected = true; this.tell(); } };
    stream.onerror = () => { if (this.connected) { this.connected = false; this.tell(); } };
  }
}

export const shared = new Shared();

export function useShared(): Shared {
  const [, redraw] = useState(0);
  useEffect(() => shared.on(() => redraw((n) => n + 1)), []);
  return shared;
}

export const jobsOf = (kind: string, group?: string | null): Job[] =>
  [...shared.jobs.values()].filter((job) => job.kind === kind && (group === undefined || job.group === group))
    .sort((a, b) => b.number - a.number);

// Where one is: the address bar, without a library.
export function useRoute(): string[] {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const changed = () => setPath(location.pathname);
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return path.split("/").filter(Boolean);
}

export function go(path: string) {
  if (path !== location.pathname) history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  scrollTo(0, 0);
}

// What Make begins with when another page sends something there.
export interface Draft { method?: string; task?: string; person?: string; references?: string[]; prompt?: string; seed?: number;
  options?: Record<string, unknown> }
export const draft: { value: Draft | null } = { value: null };
