// How the pages that RenderSelectionReport makes look.

#ifndef HEADWISE_CLIENT_CLI_REPORT_STYLE_H_
#define HEADWISE_CLIENT_CLI_REPORT_STYLE_H_

namespace headwise {

// CSS. Light or dark as the reader's system is; from 340 px on.
inline constexpr char kReportStyle[] = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfbf9;
  --card: #ffffff;
  --ink: #1b2126;
  --faint: #5b666f;
  --line: #dfe3e4;
  --rest: #b9c4ca;
  --selected: #0d7d76;
  --loss: #7b6bb0;
  --out: #d9a441;
  --bad: #b4452f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161a;
    --card: #1a2025;
    --ink: #e6eaec;
    --faint: #9aa6ae;
    --line: #2d363d;
    --rest: #4c5963;
    --selected: #3fbfb2;
    --loss: #9d8fd6;
    --out: #d9a441;
    --bad: #e5806a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0;
  background: var(--page);
  color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 .6rem; }
.card h3 { margin: 0 0 .5rem; }
h1, h2, h3, .tile b { letter-spacing: -.01em; overflow-wrap: anywhere; }
p { margin: .5rem 0; }
a { color: var(--selected); }
.lead, .note { color: var(--faint); }
.lead { max-width: 44rem; }
.note { font-size: .8rem; margin: .25rem 0 0; }
.warning { color: var(--bad); font-weight: 600; }
code { font: .85em ui-monospace, Menlo, "DejaVu Sans Mono", monospace; }
.tiles, .pair, .examples { display: grid; gap: .75rem; }
.tiles { grid-template-columns: repeat(3, 1fr); margin: 1.5rem 0; }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.examples { grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.tile, .card, .example {
  background: var(--card);
  border: 1px solid var(--line);
  border-radius: 8px;
  padding: .75rem .9rem;
  min-width: 0;
}
.tile b { display: block; font-size: clamp(1.05rem, 4vw, 1.6rem);
  line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .8rem; }
dl { display: grid; grid-template-columns: minmax(7rem, 12rem) 1fr;
  gap: .3rem 1rem; margin: 1rem 0; }
dt { color: var(--faint); }
dt::first-letter { text-transform: uppercase; }
dd { margin: 0; overflow-wrap: anywhere; }
.chip { display: inline-block; border: 1px solid var(--line);
  border-radius: 4px; background: var(--card); padding: 0 .35rem;
  margin: 0 .15rem .2rem 0; }
.scroll { overflow-x: auto; }
table { border-spacing: 0; width: 100%; font-size: .87rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
td:last-child, th:last-child { padding-right: 0; }
.name { max-width: 18rem; overflow: hidden; text-overflow: ellipsis; }
.card dl { margin-bottom: 0; font-size: .87rem; }
.card dd { text-align: right; font-variant-numeric: tabular-nums; }
.sum td, .group td { font-weight: 650; }
.outcomes td:first-child { white-space: normal; }
.scroll .name { position: sticky; left: 0; background: var(--page); }
.part td:first-child { padding-left: 1.25rem; font-weight: 400; }
.sum td { border-bottom: 0; }
svg { display: block; width: 100%; height: auto; }
.strip { height: 12px; border-radius: 6px; margin: .4rem 0; }
svg text { fill: var(--faint); font-size: 11px;
  font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
svg .label { fill: var(--ink); font-size: 12px; }
.grid { stroke: var(--line); }
.base { stroke: var(--faint); }
.mark { stroke: var(--selected); stroke-dasharray: 3 3; }
.bar { fill: var(--rest); }
.selected { fill: var(--selected); }
.losses .bar { fill: var(--loss); }
.outside { fill: var(--out); }
.lost { fill: var(--bad); }
.key { display: inline-block; width: .7em; height: .7em; border-radius: 2px;
  margin-right: .4em; }
.key.selected { background: var(--selected); }
.key.bar { background: var(--rest); }
.key.outside { background: var(--out); }
.key.lost { background: var(--bad); }
.example { font-size: .87rem; }
.example header { display: flex; flex-wrap: wrap; gap: 0 .75rem;
  justify-content: space-between; align-items: baseline; }
.example header code { overflow-wrap: anywhere; min-width: 0; }
.example header b { color: var(--selected); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.example .text { white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: isolate; margin: .5rem 0 0; max-height: 16rem;
  overflow: hidden; }
.domain { border-top: 1px solid var(--line); margin-top: 3rem; }
@media (max-width: 40rem) {
  main { padding: 1.25rem 1rem 3rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  th, td { padding: .32rem .4rem; }
  main > dl { grid-template-columns: 1fr; gap: 0; }
  main > dl dd { margin-bottom: .5rem; }
}
@media print { .card, .example { break-inside: avoid; } }
)css";

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_REPORT_STYLE_H_
