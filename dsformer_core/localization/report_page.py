"""How a report looks: on a screen by day and by night, and on paper."""

# Colours have names, so that charts follow the page.
REPORT_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{title}</title><style>
:root {{ --ground: #f5f6f8; --card: #fff; --ink: #1c2530; --muted: #66717e; --line: #d5dae0; --accent: #1f6fb4;
  --warm: #b4481b; --good: #1b7f3b }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #13181d; --card: #1c2329; --ink: #e6ebf1; --muted: #98a4b1;
  --line: #36404a; --accent: #5aa5e6; --warm: #f0945f; --good: #62c584 }} }}
* {{ box-sizing: border-box }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0; background: var(--ground); color: var(--ink) }}
main {{ max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px }}
h1 {{ font-size: 26px; margin: 0 }} h2 {{ font-size: 18px; margin: 0 0 10px }} h3 {{ font-size: 14px; margin: 0 0 6px }}
p {{ margin: 0.4em 0 }} .muted, figcaption, footer {{ color: var(--muted); font-size: 13px }}
section, .tile {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 16px 18px }}
section {{ margin-top: 16px; break-inside: avoid }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; margin-top: 18px }}
.tile b {{ display: block; font-size: 20px; line-height: 1.25; font-weight: 600 }} .tile {{ padding: 10px 14px }}
.row {{ display: flex; flex-wrap: wrap; gap: 24px; align-items: flex-start }}
.maps {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 20px }}
figure {{ margin: 0; min-width: 0 }} figcaption {{ overflow-wrap: anywhere }} svg {{ display: block; max-width: 100% }}
.map {{ margin: 0 auto }} .map img {{ display: block; width: 100% }}
.scale {{ border: solid var(--muted); border-width: 0 1px 1px; height: 5px; margin-top: 4px }}
.legend span {{ white-space: nowrap; margin-right: 10px }}
.dot {{ display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 4px }}
.ramp {{ height: 8px; border-radius: 4px; margin-top: 6px }} .ends {{ display: flex; justify-content: space-between }}
.advice {{ list-style: none; margin: 0; padding: 0 }}
.advice li {{ border-left: 3px solid var(--warm); padding: 2px 0 2px 12px; margin: 10px 0 }}
.advice li.good {{ border-color: var(--good) }} .advice div {{ color: var(--muted) }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid var(--line) }}
th {{ font-weight: 500; color: var(--muted); font-size: 13px }}
th:first-child, td:first-child {{ text-align: left }}
.pictures {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; margin-top: 10px }}
.pairs {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 16px; margin-top: 10px }}
.pair {{ display: grid; grid-template-columns: 1fr 1fr; gap: 4px }} .pair figcaption {{ grid-column: span 2 }}
.pictures img, .pair img {{ width: 100%; display: block; border-radius: 4px }}
@media print {{ :root {{ --ground: #fff; --card: #fff; --ink: #000; --muted: #555; --line: #ccc; --accent: #1f6fb4;
  --warm: #b4481b; --good: #1b7f3b }} main {{ max-width: none; padding: 0 }} body {{ font-size: 12px }}
  .maps {{ grid-template-columns: repeat(3, 1fr) }} .tiles {{ grid-template-columns: repeat(4, 1fr) }}
  * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact }} }}
</style></head><body><main>{body}</main></body></html>
"""
