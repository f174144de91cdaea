"""How the report looks: one column, the system's fonts, dark or light as the reader's system is."""

STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #5a6472; --line: #d4d9df;
  --band: #f3f5f7; --warn: #fff4d6; --warn-ink: #5c4300; --best: #e4f2ea; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e6e9ed; --soft: #9aa5b1; --line: #333a42; --band: #1c2026;
    --warn: #3a3013; --warn-ink: #ffe3a1; --best: #193326; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 80rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .8rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
.warning { background: var(--warn); color: var(--warn-ink); padding: .6rem .9rem; border-radius: .4rem; margin: 0; }
.note { color: var(--soft); max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.2rem; margin: 1rem 0; }
dt { font-weight: 600; max-width: 13rem; }
dd { margin: 0; max-width: 58rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .8rem 0 1.2rem; }
.scroll:focus-visible { outline: 2px solid #2f7fd1; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0 0 .5rem; max-width: 60rem; caption-side: top; }
th, td { padding: .38rem .5rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top;
  white-space: nowrap; }
thead th { background: var(--band); border-bottom: 2px solid var(--line); vertical-align: bottom;
  white-space: normal; min-width: 3.6rem; }
th:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; min-width: 5rem; max-width: 26rem; }
tbody th { font-weight: 600; }
tr.aim th, tr.aim td { color: var(--soft); font-weight: 400; font-style: italic; }
td.best { background: var(--best); font-weight: 600; }
th:first-child { min-width: 9rem; max-width: 15rem; white-space: normal; }
td small { display: block; color: var(--soft); font-size: .74rem; }
figure { margin: 1.2rem 0 1.8rem; }
figure svg, figure img { display: block; max-width: 100%; height: auto; }
figure svg { color: var(--ink); }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
summary { cursor: pointer; }
.key span { display: inline-block; width: .9rem; height: .9rem; border-radius: .2rem; vertical-align: -.1rem;
  margin-left: .9rem; }
.key span:first-child { margin-left: 0; }
.right { background: #40cc59; } .missed { background: #408cff; } .wrong { background: #ff4d33; }
code { font-size: .92em; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin-bottom: .5rem; } }
@media print { main { max-width: none; } .scroll { overflow: visible; } }
"""
