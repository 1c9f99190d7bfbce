"use strict";
// What the model says only ever becomes text nodes: no innerHTML, no markup.
const at = (id) => document.getElementById(id);
let messages = [];
let running = null;
let model = null;

function add(tag, className, parent, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  parent.append(element);
  return element;
}

function headers() {
  const key = at("key").value.trim();
  return { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
}

async function problem(response) {
  let message = `the server answered ${response.status}`;
  try { message = (await response.json()).error.message; } catch { /* no json: the status says it */ }
  if (response.status === 401) { at("settings").open = true; at("key").focus(); }
  return new Error(message);
}

async function findModel() {
  const response = await fetch("/v1/models", { headers: headers() });
  if (!response.ok) throw await problem(response);
  model = (await response.json()).data[0].id;
  at("model").textContent = model;
  document.title = model;
}

function question() {
  const number = (id) => (at(id).value === "" ? undefined : Number(at(id).value));
  return JSON.stringify({
    model, messages, stream: true, temperature: number("temperature"), max_tokens: number("max_tokens"),
    ...(at("thinking").checked && { chat_template_kwargs: { thinking: true } }),
  });
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (pending + value).split("\n\n");
    pending = lines.pop();
    for (const line of lines) if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
  }
}

function turn() {
  const box = add("div", "turn assistant", at("conversation"));
  const thought = add("details", "", box);
  thought.open = true;
  thought.hidden = true;
  add("summary", "", thought, "Thought");
  return { box, thought, reasoning: add("div", "", thought), answer: add("div", "", box), said: "" };
}

function near() {
  const box = at("conversation");
  return box.scrollHeight - box.scrollTop - box.clientHeight < 80;
}

function show(shown, delta) {
  const follow = near();
  if (delta.reasoning_content) {
    shown.thought.hidden = false;
    shown.reasoning.append(delta.reasoning_content);
  }
  if (delta.content) {
    shown.said += delta.content;
    shown.answer.append(delta.content);
  }
  if (follow) at("conversation").scrollTop = at("conversation").scrollHeight;
}

async function ask(shown, signal) {
  if (model === null) await findModel();
  const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), body: question(), signal });
  if (!response.ok) throw await problem(response);
  for await (const event of events(response)) {
    if (event.error) throw new Error(event.error.message);
    const choice = event.choices[0];
    if (choice) show(shown, choice.delta);
    if (choice && choice.finish_reason === "length") add("div", "note", shown.box, "(cut off at the longest answer)");
  }
}

function busy(now) {
  at("send").hidden = now;
  at("stop").hidden = !now;
}

async function send(text) {
  at("empty")?.remove();
  add("div", "turn user", at("conversation"), text);
  messages.push({ role: "user", content: text });
  const conversation = messages;
  const shown = turn();
  const own = running = new AbortController();
  busy(true);
  at("conversation").scrollTop = at("conversation").scrollHeight;
  let failed = false;
  try { await ask(shown, own.signal); } catch (error) {
    failed = !own.signal.aborted;
    const note = own.signal.aborted ? "(stopped)" : error.message;
    add("div", failed ? "note wrong" : "note", shown.box, note);
  }
  if (failed) conversation.pop(); else conversation.push({ role: "assistant", content: shown.said });
  if (running === own) { running = null; busy(false); at("text").focus(); }
}

function submit() {
  const text = at("text").value.trim();
  if (text === "" || running !== null) return;
  at("text").value = "";
  grow();
  send(text);
}

function grow() {
  at("text").style.height = "auto";
  at("text").style.height = `${at("text").scrollHeight + 2}px`;
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
at("stop").addEventListener("click", () => running?.abort());
at("text").addEventListener("input", grow);
at("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
at("new").addEventListener("click", () => {
  running?.abort();
  running = null;
  busy(false);
  messages = [];
  at("conversation").replaceChildren();
  at("text").focus();
});
findModel().catch((error) => { at("empty").textContent = error.message; });
