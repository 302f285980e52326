/** Style sheet of the report. Figures take their colours from the variables, so one SVG serves light and dark. */
export const reportStyle = `
:root {
  color-scheme: light dark;
  --page: #fbfbf9; --card: #ffffff; --ink: #1c1f24; --muted: #5c636e; --line: #dfe1e5; --grid: #eceef1; --link: #0b5cad; --shade: #1c1f2440;
  --for: #1b7f4b; --against: #b3401f; --neutral: #7a818c;
  --c-orange: #d9730d; --c-purple: #8a4fbf; --c-green: #1f8a4c; --c-teal: #0e8a93; --c-pink: #c2407f; --c-brown: #8a6234;
  --g-1: #8bbdec; --g-2: #6aa7e0; --g-3: #4c93d4; --g-4: #2b77bf; --g-5: #155a9c; --g-6: #0a3d70;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171b; --card: #1d2025; --ink: #e8eaee; --muted: #a2a9b4; --line: #353a42; --grid: #2a2e35; --link: #7db8f5; --shade: #000000a0;
    --for: #55c98b; --against: #f08a66; --neutral: #8d94a0;
    --c-orange: #f2a04e; --c-purple: #c095f0; --c-green: #5fcb8c; --c-teal: #4fc6cf; --c-pink: #ee82b4; --c-brown: #cfa572;
    --g-1: #47698c; --g-2: #4a79aa; --g-3: #4c8bcb; --g-4: #68a7e4; --g-5: #8fc3f5; --g-6: #c0e0ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.22rem; margin: 2.6rem 0 .5rem; }
h3 { font-size: .95rem; margin: 0 0 .4rem; font-weight: 600; }
p { max-width: 46rem; margin: .5rem 0; }
.lead { color: var(--muted); }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: .1rem 1.4rem; margin: 1.3rem 0 1rem; }
dl.facts div { border-top: 1px solid var(--line); padding: .5rem 0; }
dt { color: var(--muted); font-size: .82rem; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem .9rem; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .88rem; margin: .4rem 0; }
ul.findings { list-style: none; padding: 0; margin: .8rem 0; max-width: 48rem; }
ul.findings li { border-left: 4px solid var(--neutral); padding: .15rem 0 .15rem .9rem; margin: .8rem 0; }
ul.findings li.for { border-color: var(--for); }
ul.findings li.against { border-color: var(--against); }
ul.findings b { display: block; font-size: .86rem; color: var(--muted); font-weight: 600; }
ul.findings span { font-size: .76rem; border: 1px solid currentColor; border-radius: 99px; padding: 0 .5em; margin-left: .35em; }
li.for span { color: var(--for); }
li.against span { color: var(--against); }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); gap: 1rem; margin: .9rem 0 .4rem; }
.panels.single { grid-template-columns: minmax(0, 1fr); }
.panels.wide { grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .9rem .9rem .6rem; overflow: hidden; container-type: inline-size; }
figure svg { max-width: 100%; height: auto; display: block; margin: 0 auto; }
.compact { display: none; }
.compact svg { width: 100%; max-width: 400px; }
@container (max-width: 440px) { .wide .full { display: none; } .wide .compact { display: block; } }
@container (max-width: 830px) { .single .full { display: none; } .single .compact { display: block; } }
.caption { color: var(--muted); font-size: .9rem; }
/* Shadows at the edges behind which there is more: the page's colour moves with the table and covers them at its ends. */
.table {
  overflow-x: auto; background-repeat: no-repeat; background-attachment: local, local, scroll, scroll;
  background-size: 2.6rem 100%, 2.6rem 100%, .8rem 100%, .8rem 100%; background-position: 0 0, 100% 0, 0 0, 100% 0;
  background-image: linear-gradient(90deg, var(--page) 40%, transparent), linear-gradient(-90deg, var(--page) 40%, transparent),
    linear-gradient(90deg, var(--shade), transparent), linear-gradient(-90deg, var(--shade), transparent);
}
.sideways { display: none; }
table { border-collapse: collapse; font-size: .93rem; font-variant-numeric: tabular-nums; margin: .8rem 0; }
th, td { padding: .28rem .85rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: .2rem; }
thead th { border-bottom: 2px solid var(--line); font-weight: 600; vertical-align: bottom; }
thead small { display: block; color: var(--muted); font-weight: 400; }
tbody th { font-weight: 400; }
tbody tr.group th { font-weight: 600; padding-top: .8rem; }
tbody tr.truncation { color: var(--muted); }
tbody tr.truncation th, tbody tr.truncation td { border-bottom: 1px solid var(--line); padding-bottom: .5rem; }
td.beats { font-weight: 700; color: var(--for); }
td.broken { color: var(--against); }
td.broken::before { content: "▲ "; font-size: .8em; }
.sign { color: var(--against); }
.dash { display: inline-block; width: 1.6em; border-top: 2px dashed var(--muted); vertical-align: middle; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .8rem; color: var(--muted); font-size: .88rem; }
@media (max-width: 600px) {
  main { padding: 1.4rem .7rem 3rem; }
  figure { padding: .7rem .5rem .5rem; }
}
/* As wide as the table is, so that it scrolls wherever the words say so. */
@media (max-width: 520px) {
  .sideways { display: block; }
  .losses table { min-width: 520px; }
  .losses th:first-child { max-width: 9.5rem; white-space: normal; }
}
@media print { body { background: #fff; } figure { break-inside: avoid; } }
`.trim();
