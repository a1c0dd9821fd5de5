// The page of a study that runs: asks its server for what is new, and draws again where a trial has ended.

const LIVE_MS = 3000;

function showProgress(live) {
  const place = byId("live");
  place.hidden = false;
  const share = live.total ? (100 * live.done) / live.total : 0;
  const bar = el("span", {});
  bar.style.width = `${share.toFixed(1)}%`;
  place.replaceChildren(el("strong", { text: live.lines[0] }), el("div", { class: "bar" }, bar), ...live.lines.slice(1).map((line) => el("p", { class: "quiet", text: line })));
}

async function askForNews() {
  try {
    const answer = await fetch("data.json", { cache: "no-store" });
    const data = await answer.json();
    showProgress(data.live);
    if (data.live.version !== page.data.live.version) {
      take(data);
      fillChoices();
      fillTexts();
      drawBoard();
      drawAll();
    }
  } catch (error) {
    byId("live").replaceChildren(el("strong", { text: "The server does not answer; this is what was known last." }));
  }
}

function follow() {
  showProgress(page.data.live);
  setInterval(askForNews, LIVE_MS);
}
