// onnxruntime-web under node, as a worker: see worker.py. Its argument is the folder that holds node_modules.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

console.log = console.info = console.warn = console.debug = console.error; // standard output is for answers
const web = createRequire(`${process.argv[2]}/`).resolve("onnxruntime-web");
const ort = await import(pathToFileURL(web).href).then((loaded) => loaded.default ?? loaded);
ort.env.wasm.numThreads = 1; // more need the headers of a server
ort.env.logLevel = "error";

const TYPES = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};
let session;

async function load({ model, optimizer }) {
  session = await ort.InferenceSession.create(new Uint8Array(readFileSync(model)), {
    executionProviders: ["wasm"],
    graphOptimizationLevel: optimizer ? "all" : "disabled",
  });
  return {};
}

async function run({ feeds }) {
  const content = readFileSync("feeds");
  const tensors = {};
  let offset = 0;
  for (const { name, dtype, shape } of feeds) {
    const type = TYPES[dtype];
    const count = shape.reduce((product, size) => product * size, 1);
    const bytes = content.subarray(offset, (offset += count * type.BYTES_PER_ELEMENT));
    const data = new type(new Uint8Array(bytes).buffer, 0, count);
    tensors[name] = new ort.Tensor(dtype, data, shape);
  }
  const began = performance.now();
  const results = await session.run(tensors);
  const seconds = (performance.now() - began) / 1000;
  const made = session.outputNames.map((name) => results[name]);
  const parts = made.map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  writeFileSync("results", Buffer.concat(parts));
  return { seconds, results: made.map(({ type, dims }) => ({ dtype: type, shape: dims })) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  let answer;
  try {
    answer = await (request.do === "load" ? load : run)(request);
  } catch (error) {
    answer = { error: String(error?.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
