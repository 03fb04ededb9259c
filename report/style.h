// How a report looks: light and dark on a screen, one narrow column on a phone, black on white on paper.
#pragma once

#include <string_view>

namespace densetree::report {

inline constexpr std::string_view kReportStyle = R"css(
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --rule: #d0d7de;
  --accent: #0a5dab; --middle: #7fb0dc; --pale: #d5dbe1; --warm: #fff4d6; --heat: 91 163 208;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e6e8eb; --soft: #a5adb6; --rule: #3d4650;
    --accent: #74b6f5; --middle: #3a6f9f; --pale: #39424c; --warm: #3a3116; --heat: 42 106 158;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0 1rem; }
h2 {
  font-size: 1.25rem; line-height: 1.3; margin: 2.5rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--rule);
}
h3 { font-size: 1.05rem; margin: 1.25rem 0 .5rem; }
h1, h2, h3, caption { break-after: avoid; page-break-after: avoid; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); }
nav ol { margin: 1rem 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
.callout { background: var(--warm); border-left: 4px solid var(--soft); padding: .5rem .75rem; max-width: none; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.cards div { border: 1px solid var(--rule); border-radius: 6px; padding: .5rem .75rem; }
.cards dt { color: var(--soft); font-size: .85rem; }
.cards dd { margin: 0; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.cards .interval { display: block; font-size: .85rem; }

.scroll { overflow-x: auto; max-width: 100%; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: middle; }
td { overflow-wrap: normal; }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 600; overflow-wrap: normal; }
tbody th { font-weight: 400; overflow-wrap: break-word; }
th .name { display: inline-block; max-width: 12rem; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--paper); }
tr.group th { font-weight: 600; padding-top: .75rem; }
tr, svg, figure { break-inside: avoid; page-break-inside: avoid; }
td.text { text-align: left; overflow-wrap: anywhere; min-width: 8rem; }
.interval { color: var(--soft); white-space: nowrap; }
small { display: block; color: var(--soft); white-space: nowrap; font-size: .8125rem; }
.left td, .left thead th, .names th:nth-child(2) { text-align: left; }
.made tbody th { color: var(--soft); }

.tree tbody th { padding-top: 0; padding-bottom: 0; height: 2.1rem; }
.tree .inner { font-weight: 600; }
.rail { position: absolute; top: 0; bottom: 0; border-left: 1px solid var(--soft); }
.rail.last { bottom: 50%; }
.twig { position: absolute; top: 50%; width: .6rem; border-top: 1px solid var(--soft); }
.mark { width: 7rem; min-width: 5rem; height: .98rem; display: block; }

.together th, .together td { padding: .2rem .3rem; }
.together thead th + th > span {
  display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
}
.together thead .name { max-width: none; max-height: 10rem; }
.together td { min-width: 2.4rem; background: rgb(var(--heat) / var(--part, 0)); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.together td.same { background: none; font-weight: 600; outline: 1px solid var(--soft); outline-offset: -2px; }

.multiple { break-inside: avoid; page-break-inside: avoid; }
.multiple > div {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(8.75rem, 46%), 1fr)); gap: .5rem .75rem;
}
figure { margin: 0; min-width: 0; }
figcaption { font-size: .8125rem; line-height: 1.35; color: var(--soft); }
figcaption b { color: var(--ink); display: block; }
svg text { fill: var(--soft); font-size: 8px; }
svg .axis { font-size: 9px; }
svg .note { font-size: 12px; }
.chart { display: block; width: 100%; max-width: 17rem; height: auto; }
.frame { fill: none; stroke: var(--soft); stroke-width: .7; }
.grid { fill: none; stroke: var(--rule); stroke-width: .7; }
.line, .score, .guide { fill: none; stroke-linejoin: round; }
.line { stroke: var(--accent); stroke-width: 1.5; }
.score { stroke: var(--soft); stroke-width: 1.2; stroke-dasharray: 3 2; }
.guide { stroke: var(--soft); stroke-width: .7; stroke-dasharray: 1.5 2; }
.span { fill: none; stroke: var(--accent); stroke-width: 2; }
.dot { fill: var(--accent); fill-opacity: .8; }
.key { width: 2rem; height: .6rem; }
.kept { fill: var(--accent); }
.softened { fill: var(--middle); stroke: var(--paper); stroke-width: .3; }
.gone { fill: var(--pale); }

.answers { list-style: none; margin: .5rem 0; padding: 0; columns: 24rem 2; column-gap: 2rem; font-size: .9375rem; }
.answers li { break-inside: avoid; page-break-inside: avoid; margin: 0 0 .75rem; line-height: 1.4; }
.bar { display: block; width: 100%; height: .5rem; margin-top: .2rem; }

@media (max-width: 30rem) {
  body { padding: .75rem; }
  h1 { font-size: 1.35rem; }
  th, td { padding: .3rem .45rem; }
  th .name { max-width: 8.5rem; }
}
@page { margin: 14mm 12mm; }
@media print {
  body { padding: 0; max-width: none; font-size: 9.5pt; line-height: 1.4; }
  nav { display: none; }
  p { max-width: none; orphans: 3; widows: 3; }
  h1 { font-size: 15pt; }
  h2 { margin-top: 1rem; font-size: 12.5pt; }
  .cards { grid-template-columns: repeat(6, 1fr); gap: .4rem; }
  .cards div { padding: .25rem .5rem; }
  .cards dt, .cards .interval { font-size: 7.5pt; }
  .cards dd { font-size: 12pt; }
  .scroll { overflow: visible; margin: .5rem 0; break-inside: avoid; page-break-inside: avoid; }
  table { font-size: 8pt; line-height: 1.25; }
  th, td { padding: .18rem .45rem; }
  small { font-size: 7pt; }
  th:first-child { position: static; background: none; }
  .tree tbody th { position: relative; height: 1.05rem; }
  .tree td { padding-top: .1rem; padding-bottom: .1rem; }
  .mark { width: 5.5rem; height: .77rem; }
  .multiple > div { grid-template-columns: repeat(4, 1fr); gap: .25rem 1.25rem; }
  .multiple h3 { margin: .5rem 0 .1rem; font-size: 9.5pt; }
  figcaption { font-size: 7pt; line-height: 1.2; white-space: nowrap; }
  .answers { columns: 2; font-size: 8.5pt; }
  .together { font-size: min(8pt, calc(118pt / var(--labels))); }
  .together td { min-width: 0; }
  .callout, .bar, .chart, .mark { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
)css";

}  // namespace densetree::report
