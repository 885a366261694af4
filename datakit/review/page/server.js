// What the page asks the server; addresses are relative to the one with the token that it was opened under.

/** The server could not be reached, or answered with something that is no answer. */
export class Unreachable extends Error {}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`api/${path}`, { cache: "no-store", ...options });
  } catch {
    throw new Unreachable("datakit review does not answer: is it still running in the terminal?");
  }
  if (response.status === 403 || response.status === 404) {
    throw new Unreachable("datakit review was started anew: open the address that it printed");
  }
  let body;
  try {
    body = await response.json();
  } catch {
    throw new Unreachable(`datakit review answered ${response.status} without saying why`);
  }
  if (response.status >= 500) throw new Unreachable(body.error ?? `datakit review answered ${response.status}`);
  return { status: response.status, body };
}

// Browsers let a request outlive its page only where its body is short: 64 KiB of all that are on their way.
const OUTLIVES = 10_000;

function send(method, content) {
  const body = JSON.stringify(content);
  return { method, headers: { "Content-Type": "application/json" }, body, keepalive: body.length < OUTLIVES };
}

// The answer to a question that has one, unless the server is in trouble.
async function answered(path) {
  const { status, body } = await ask(path);
  if (status !== 200) throw new Unreachable(body.error ?? `datakit review answered ${status}`);
  return body;
}

/** The samples, their buckets, and the batches for (batch, gpus, accumulate) where those are given. */
export const getDataset = (batches = null) =>
  answered(batches ? `dataset?${new URLSearchParams({ ...batches, samples: 0 })}` : "dataset");

/**
 * Save a decision, made on top of a revision and of the caption that was shown; the status says whether it was taken
 * (200), late (409) or wrong (422).
 */
export const putDecision = (key, revision, decision, caption) =>
  ask(`decision/${key}`, send("PUT", { revision, decision, caption }));

/** What was changed since a stamp, by any tab. */
export const getChanges = (since) => answered(`changes?since=${since}`);

// A request holds a megabyte at most; of signs that take several bytes too.
const TOGETHER = 200_000;

async function ofCaptions(captions, change) {
  const answers = [];
  for (let begin = 0; begin < captions.length; ) {
    let end = begin;
    for (let signs = 0; end < captions.length && (end === begin || signs + captions[end].length <= TOGETHER); end += 1)
      signs += captions[end].length;
    const { status, body } = await ask("tokens", send("POST", { captions: captions.slice(begin, end), ...change }));
    if (status !== 200) throw new Unreachable(body.error ?? `datakit review answered ${status}`);
    answers.push(...body);
    begin = end;
  }
  return answers;
}

/** The tokens of each caption, as they are shuffled. */
export const getTokens = (captions) => ofCaptions(captions, {});
/** Captions without a token, and with it. */
export const withoutToken = (captions, take) => ofCaptions(captions, { take });
export const withToken = (captions, put) => ofCaptions(captions, { put });

export const startApply = () => ask("apply", send("POST", {}));
export const getApply = () => answered("apply");

export const thumbnail = (key, side, version) => `api/thumbnail/${key}?side=${side}&v=${version}`;
export const picture = (key, side, version) => `api/picture/${key}?side=${side}&v=${version}`;
export const heat = (key) => `api/heat/${key}`;
export const companion = (key, name, version) => `api/companion/${key}/${name}?v=${version}`;
