// Live: a camera or a video, each frame edited.

import { useEffect, useRef, useState } from "preact/hooks";
import { frame } from "../api";
import { useShared } from "../state";
import { Empty, Labelled, Link, Text, Trouble } from "../ui";

const SIDE = 256;
const TOLD: [string, string, string][] = [["X-frames-per-s", "Frames a second", ""], ["X-latency-ms", "Latency of the edit", " ms"],
  ["X-flicker-before", "Flicker of the input", ""], ["X-flicker-after", "Flicker as shown", ""], ["X-frames", "Frames", ""]];

export function Live() {
  const { methods } = useShared();
  const video = useRef<HTMLVideoElement>(null), output = useRef<HTMLCanvasElement>(null);
  const [words, setWords] = useState("put on a red hat");
  const [style, setStyle] = useState(1);
  const [steady, setSteady] = useState(true);
  const [keep, setKeep] = useState(false);
  const [running, setRunning] = useState(false);
  const [told, setTold] = useState<Record<string, string>>({});
  const [trouble, setTrouble] = useState("");
  const settings = useRef({});
  settings.current = { instruction: words, style, steady, keep_background: keep };
  const editing = methods?.filter((one) => one.task === "edit") ?? [], method = editing[0];

  const stop = () => {
    const stream = video.current?.srcObject as MediaStream | null;
    stream?.getTracks().forEach((track) => track.stop());
    if (video.current) video.current.srcObject = null;
  };
  useEffect(() => stop, []);
  useEffect(() => {
    if (!running || !method) return;
    let wanted = true;
    const grab = document.createElement("canvas");
    grab.width = grab.height = SIDE;
    const loop = async () => {
      while (wanted) {
        const from = video.current!;
        if (!from.videoWidth) { await new Promise((done) => setTimeout(done, 50)); continue; }
        const side = Math.min(from.videoWidth, from.videoHeight);
        grab.getContext("2d")!.drawImage(from, (from.videoWidth - side) / 2, (from.videoHeight - side) / 2, side, side, 0, 0, SIDE, SIDE);
        const data = await new Promise<Blob | null>((done) => grab.toBlob(done, "image/jpeg", 0.92));
        try {
          const reply = await frame(method.name, data!, settings.current);
          const picture = await createImageBitmap(await reply.blob());
          if (!wanted) return;
          const place = output.current!;
          place.width = picture.width;
          place.height = picture.height;
          place.getContext("2d")!.drawImage(picture, 0, 0);
          setTold(Object.fromEntries(TOLD.map(([name]) => [name, reply.headers.get(name) ?? "-"])));
          setTrouble("");
        } catch (error) {
          setTrouble((error as Error).message);
          await new Promise((done) => setTimeout(done, 1500));
        }
      }
    };
    loop();
    return () => { wanted = false; };
  }, [running, method?.name]);

  const begin = async (set: () => Promise<void>) => {
    setTrouble("");
    try { stop(); await set(); await video.current!.play(); setRunning(true); }
    catch (error) { setTrouble(`No picture: ${(error as Error).message}. Allow the camera, or open a video.`); }
  };
  const camera = () => begin(async () => { video.current!.removeAttribute("src"); video.current!.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } }); });
  if (methods && !method) return <Empty title="No method edits pictures" />;
  return <><h1>Live</h1>
    {method?.missing && <section class="notice"><h2>{method.name} has no weights yet</h2><p><Text words={method.missing} /></p><p><Link to="/">Make pictures instead</Link></p></section>}
    <div class="live"><figure><video ref={video} muted playsInline loop /><figcaption>Camera or video; it stays on this machine.</figcaption></figure>
      <figure><canvas ref={output} width="256" height="256" role="img" aria-label="The edited picture" /><figcaption>Edited.</figcaption></figure></div>
    <div class="row wrap bar"><button type="button" class="main" onClick={camera} disabled={Boolean(method?.missing)}>Use the camera</button>
      <label class="button file">Open a video<input type="file" accept="video/*" disabled={Boolean(method?.missing)} onChange={(event) => {
        const file = event.currentTarget.files?.[0];
        if (file) begin(async () => { video.current!.src = URL.createObjectURL(file); });
      }} /></label>
      <button type="button" disabled={!video.current?.videoWidth && !running} onClick={() => { if (running) video.current!.pause(); else video.current!.play(); setRunning(!running); }}>{running ? "Pause" : "Go on"}</button></div>
    {trouble && <Trouble words={trouble} />}
    <div class="two even"><div><Labelled label="Instruction">{(id) => <input id={id} type="text" maxLength={500} value={words} onInput={(event) => setWords(event.currentTarget.value)} />}</Labelled>
      <Labelled label={`Style ${style.toFixed(1)}`}>{(id) => <input id={id} type="range" min="0" max="3" step="0.1" value={style} onInput={(event) => setStyle(Number(event.currentTarget.value))} />}</Labelled>
      <label class="check"><input type="checkbox" checked={steady} onChange={(event) => setSteady(event.currentTarget.checked)} /> Hold still what stands still</label>
      <label class="check"><input type="checkbox" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} /> Keep the background</label></div>
      <dl class="told">{TOLD.map(([name, label, unit]) => <div key={name}><dt>{label}</dt><dd>{told[name] ? told[name] + unit : "-"}</dd></div>)}</dl></div></>;
}
