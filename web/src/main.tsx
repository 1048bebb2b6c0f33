import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Compare } from "./pages/compare";
import { Gallery } from "./pages/gallery";
import { Live } from "./pages/live";
import { Make } from "./pages/make";
import { People } from "./pages/people";
import { Sitters } from "./pages/sitters";
import { Study } from "./pages/study";
import { Train } from "./pages/train";
import { shared, useRoute, useShared } from "./state";
import { Empty, Link } from "./ui";
import "./style.css";

const PAGES: [string, string][] = [["", "Make"], ["gallery", "Gallery"], ["compare", "Compare"], ["train", "Train"], ["live", "Live"],
  ["study", "Study"], ["sitters", "Sitters"], ["people", "People"]];

function Page({ route: [page = "", more, last] }: { route: string[] }) {
  switch (page) {
    case "": return <Make />;
    case "gallery": return <Gallery open={more} />;
    case "compare": return <Compare />;
    case "train": return <Train />;
    case "live": return <Live />;
    case "study": return <Study name={more} page={last} />;
    case "sitters": return <Sitters />;
    case "people": return <People />;
    default: return <Empty title="There is no such page"><p><Link to="/">Make a picture</Link></p></Empty>;
  }
}

function App() {
  const route = useRoute(), { connected, about } = useShared();
  const name = PAGES.find(([page]) => page === (route[0] ?? ""))?.[1] ?? "Likeness";
  useEffect(() => {
    document.title = `${name} - Likeness studio`;
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [name]);
  const busy = about ? [...shared.jobs.values()].filter((job) => job.state === "queued" || job.state === "running").length : 0;
  return <><a class="skip" href="#main">To the page</a>
    <header class="top"><Link to="/" class="brand"><svg viewBox="0 0 32 32" aria-hidden="true"><circle cx="16" cy="11" r="6" /><path d="M5 28c1-7 5-10 11-10s10 3 11 10" /></svg>likeness</Link>
      <nav aria-label="Pages">{PAGES.map(([page, words]) => <Link key={page} to={`/${page}`} aria-current={page === (route[0] ?? "") ? "page" : undefined}>{words}</Link>)}</nav>
      <span class="busy-count" aria-live="polite">{connected ? (busy ? `${busy} at work` : "") : "no connection"}</span></header>
    <main id="main" tabIndex={-1}><Page route={route} /></main></>;
}

render(<App />, document.getElementById("app")!);
shared.begin();
