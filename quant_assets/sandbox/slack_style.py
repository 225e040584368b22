"""How the page looks and keeps itself fresh. What belongs here: CSS and script, no messages."""

import base64
import hashlib

STYLE = """
:root{--bg:#fff;--fg:#1d1c1d;--soft:#616061;--line:#e4e2e5;--hover:#f8f7f9;--link:#1264a3;
--code:#c01343;--codebg:#f6f5f7;--mark:#fdf6dc;--side:#3d2b40;--sidefg:#d9cfdc;--on:#6b5170;
--mention:#e8f0f7;--good:#1d8a4e;--bad:#d01f3c;--busy:#b97a0c}
@media(prefers-color-scheme:dark){:root{--bg:#1a1d21;--fg:#d8d9da;--soft:#9a9b9e;--line:#35383d;
--hover:#202328;--link:#63b3e8;--code:#f0758b;--codebg:#25282d;--mark:#38331f;--side:#241a27;
--sidefg:#c3b8c6;--on:#4d3a52;--mention:#1f3344;--good:#45c07d;--bad:#f2687f;--busy:#e2ad4a}}
*{box-sizing:border-box}
html{color-scheme:light dark}
body{margin:0;display:grid;grid-template-columns:15rem minmax(0,1fr);min-height:100vh;
background:var(--bg);color:var(--fg);font:15px/1.47 system-ui,-apple-system,"Segoe UI",
"Noto Sans","Noto Sans CJK KR",sans-serif}
a{color:var(--link);text-decoration:none}
a:hover{text-decoration:underline}
aside{background:var(--side);color:var(--sidefg)}
.side{position:sticky;top:0;padding:1rem .6rem}
h1{font-size:1.05rem;margin:0 .6rem;color:#fff}
.note{font-size:.75rem;margin:.1rem .6rem 1rem;opacity:.75}
nav a{display:flex;gap:.45rem;padding:.22rem .6rem;border-radius:6px;color:inherit}
nav a:hover{background:#ffffff14;text-decoration:none}
nav a.on{background:var(--on);color:#fff}
nav .hash{opacity:.6}
nav .name{flex:1;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
nav .count{font-size:.75rem;font-variant-numeric:tabular-nums;opacity:.8;padding-top:.12rem}
nav a.empty-channel{opacity:.6}
main{padding-bottom:4rem;min-width:0}
main>header,section>header{position:sticky;top:0;z-index:1;background:var(--bg);
border-bottom:1px solid var(--line);padding:.75rem 1.4rem .6rem}
h2{font-size:1.1rem;margin:0}
h2 a{color:inherit}
header p{margin:0;color:var(--soft);font-size:.8rem}
.thread{padding:.9rem 1.4rem .8rem;border-bottom:1px solid var(--line);max-width:64rem}
.root{display:grid;grid-template-columns:36px minmax(0,1fr);gap:0 .65rem}
.avatar{width:36px;height:36px;border-radius:8px;background:#4b7f8c;color:#fff;font-weight:700;
display:grid;place-items:center}
.who{font-weight:700}
.app{font-size:.62rem;font-weight:600;color:var(--soft);background:var(--codebg);border-radius:3px;
padding:.08rem .25rem;margin:0 .3rem;vertical-align:.1em}
.time{color:var(--soft);font-size:.76rem;font-variant-numeric:tabular-nums}
.edited{color:var(--soft);font-size:.74rem;margin-left:.35rem}
details{margin:.35rem 0 0 calc(36px + .65rem)}
summary{cursor:pointer;color:var(--link);font-size:.82rem;font-weight:600;width:max-content;
max-width:100%}
summary span{color:var(--soft);font-weight:400}
.replies{border-left:2px solid var(--line);margin-top:.35rem;padding-left:.2rem}
.reply{display:grid;grid-template-columns:4.4rem minmax(0,1fr);padding:.2rem .5rem;
border-radius:0 6px 6px 0}
.reply:hover{background:var(--hover)}
.reply .time{padding-top:.2rem;text-align:right;padding-right:.7rem}
.thread,.reply{scroll-margin-top:4.6rem}
.reply:target,.thread:target>.root{background:var(--mark)}
.text,.header,.context span{white-space:pre-wrap;overflow-wrap:anywhere}
.text{margin:.05rem 0}
.header{font-size:1.12rem;font-weight:700;margin:.15rem 0}
.context{color:var(--soft);font-size:.8rem;display:flex;flex-wrap:wrap;gap:.15rem .8rem}
.fields{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:.15rem 1.2rem;
max-width:40rem}
code{font:.82em/1.4 ui-monospace,"DejaVu Sans Mono","Noto Sans Mono CJK KR",monospace;
color:var(--code);background:var(--codebg);border:1px solid var(--line);border-radius:3px;
padding:.05rem .22rem}
pre{font:.8rem/1.42 ui-monospace,"DejaVu Sans Mono","Noto Sans Mono CJK KR",monospace;
margin:.3rem 0;background:var(--codebg);border:1px solid var(--line);border-radius:6px;
padding:.5rem .7rem;
overflow-x:auto;white-space:pre;max-width:100%;width:max-content}
.wide{display:inline-block;width:2ch;text-align:center}
blockquote{margin:.2rem 0;padding-left:.8rem;border-left:4px solid var(--line)}
hr{border:0;border-top:1px solid var(--line);margin:.5rem 0}
.sign{font-weight:700}
.good{color:var(--good)}
.bad{color:var(--bad)}
.busy{color:var(--busy)}
.told{color:var(--link)}
.quiet{color:var(--soft)}
.flag{font-size:.68em;border:1px solid var(--line);border-radius:3px;padding:0 .25em;
vertical-align:.12em;color:var(--soft)}
.mention{background:var(--mention);color:var(--link);border-radius:3px;padding:0 .15rem}
figure{margin:.3rem 0}
figcaption{color:var(--soft);font-size:.8rem;margin-bottom:.2rem}
img{max-width:min(100%,44rem);height:auto;border:1px solid var(--line);border-radius:8px;
display:block;background:#fff}
.empty,.older{padding:2rem 1.4rem;color:var(--soft)}
.older{padding:1rem 1.4rem}
#gone{display:none;position:fixed;right:1rem;bottom:1rem;background:var(--fg);color:var(--bg);
border-radius:8px;padding:.4rem .8rem;font-size:.82rem}
body.gone #gone{display:block}
@media(max-width:46rem){
body{display:block}
.side{position:static;padding:.7rem .5rem .5rem}
.note{margin-bottom:.4rem}
nav{display:flex;overflow-x:auto;gap:.2rem}
nav a{flex:none}
.thread,main>header,section>header,.empty{padding-left:.8rem;padding-right:.8rem}
details{margin-left:0}
.reply{grid-template-columns:minmax(0,1fr)}
.reply .time{text-align:left}
.fields{grid-template-columns:minmax(0,1fr)}}
@media print{aside,#gone{display:none}body{display:block}
main>header,section>header{position:static}}
"""

SCRIPT = """
(() => {
  const place = () => document.querySelector('main');
  let served = place().innerHTML;
  const top = () => [...document.querySelectorAll('article')]
    .find(one => one.getBoundingClientRect().bottom > 80);
  async function refresh() {
    if (document.hidden || String(getSelection())) return;
    let text;
    try {
      const answer = await fetch(location.href, {cache: 'no-store'});
      if (!answer.ok) return;
      text = await answer.text();
      document.body.classList.remove('gone');
    } catch {
      document.body.classList.add('gone');
      return;
    }
    const fresh = new DOMParser().parseFromString(text, 'text/html');
    document.querySelector('nav').innerHTML = fresh.querySelector('nav').innerHTML;
    const next = fresh.querySelector('main').innerHTML;
    if (next === served) return;
    const seen = scrollY > 0 && top();
    const before = seen && seen.getBoundingClientRect().top;
    const folds = [...document.querySelectorAll('details')].map(one => [one.id, one.open]);
    place().innerHTML = served = next;
    for (const [id, open] of folds) {
      const one = document.getElementById(id);
      if (one) one.open = open;
    }
    const same = seen && document.getElementById(seen.id);
    if (same) scrollBy(0, same.getBoundingClientRect().top - before);
  }
  setInterval(refresh, 2500);
})();
"""

_SCRIPT_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' data:; "
    f"connect-src 'self'; style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'"
)
"""Content security policy: no script but ours, nothing from elsewhere."""
