// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// The npm `openai` client against a running guest: BASE_URL and API_KEY come by the environment. Prints
// `ok NAME` or `not ok NAME: why`.
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.env.BASE_URL,
  apiKey: process.env.API_KEY ?? "none",
  maxRetries: 0,
  timeout: 60000,
});
const stranger = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "wrong", maxRetries: 0 });
let bad = 0;

async function check(name, run) {
  try {
    const why = await run();
    if (why === true) {
      console.log(`ok openai client: ${name}`);
      return;
    }
    console.log(`not ok openai client: ${name}: ${JSON.stringify(why)}`);
  } catch (error) {
    console.log(`not ok openai client: ${name}: ${error}`);
  }
  bad++;
}

const question = [{ role: "user", content: "What is 3 plus 4?" }];
let whole = "";

await check("lists the model", async () => {
  const list = await client.models.list();
  return list.data.length === 1 && list.data[0].object === "model" ? true : list.data;
});
await check("chat completion", async () => {
  const answer = await client.chat.completions.create({
    model: "any", messages: question, temperature: 0, max_tokens: 64 });
  whole = answer.choices[0].message.content;
  const good = answer.object === "chat.completion" && answer.choices[0].finish_reason === "stop" &&
    whole.includes("7") && answer.usage.completion_tokens > 0 &&
    answer.usage.total_tokens === answer.usage.prompt_tokens + answer.usage.completion_tokens;
  return good ? true : answer;
});
await check("streams the same answer, with usage", async () => {
  const stream = await client.chat.completions.create({
    model: "any", messages: question, temperature: 0, max_tokens: 64, stream: true,
    stream_options: { include_usage: true } });
  let text = "", finish = null, usage = null, chunks = 0;
  for await (const part of stream) {
    chunks++;
    text += part.choices[0]?.delta?.content ?? "";
    finish = part.choices[0]?.finish_reason ?? finish;
    usage = part.usage ?? usage;
  }
  return text === whole && finish === "stop" && usage?.completion_tokens > 0 && chunks > 2 ? true
    : { text, whole, finish, usage, chunks };
});
await check("a stream that is broken off leaves the server well", async () => {
  const stream = await client.chat.completions.create({
    model: "any", messages: question, temperature: 1, max_tokens: 200, stream: true });
  for await (const _ of stream) {
    stream.controller.abort();
    break;
  }
  const answer = await client.chat.completions.create({
    model: "any", messages: question, temperature: 0, max_tokens: 64 });
  return answer.choices[0].message.content === whole ? true : answer;
});
await check("text completion", async () => {
  const answer = await client.completions.create({
    model: "any", prompt: "one two three", max_tokens: 4, temperature: 0 });
  return answer.object === "text_completion" && typeof answer.choices[0].text === "string" ? true : answer;
});
await check("eight at once, each its own answer", async () => {
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8];
  const ask = async (n) => (await client.chat.completions.create({
    model: "any", temperature: 0, max_tokens: 32,
    messages: [{ role: "user", content: `What is ${n} plus 1?` }] })).choices[0].message.content;
  const together = await Promise.all(numbers.map(ask));
  for (const n of numbers) {
    const alone = await ask(n);
    if (alone !== together[n - 1]) {
      return { n, alone, together: together[n - 1] };
    }
  }
  return true;
});
await check("a bad request is a BadRequestError that names the field", async () => {
  try {
    await client.chat.completions.create({ model: "any", messages: question, temperature: "hot" });
    return "no error";
  } catch (error) {
    return error instanceof OpenAI.BadRequestError && /temperature/.test(error.message) ? true : String(error);
  }
});
await check("a wrong key is an AuthenticationError", async () => {
  try {
    await stranger.chat.completions.create({ model: "any", messages: question });
    return "no error";
  } catch (error) {
    return error instanceof OpenAI.AuthenticationError ? true : String(error);
  }
});
process.exit(bad ? 1 : 0);
