// The page "Draw a digit": networks of the book read what is drawn, in the browser.
// Nothing is asked for until the reader presses the button; then all comes from this site.
(() => {
  const SIDE = 28; // pixels of what a network sees
  const PAD = 280; // pixels of the canvas
  const BOX = 20; // MNIST scaled each digit into a box of this side, then centred its mass
  const RUNS = 10; // of a network for one answer: browsers round their clock
  const here = document.currentScript.src;
  const file = (name) => new URL(name, here).href;

  // ---- Pictures: arrays of SIDE x SIDE numbers from 0, black, to 1, white ------------------------------------

  const blank = () => new Float32Array(SIDE * SIDE);
  const at = (image, x, y, side = SIDE) => (x < 0 || y < 0 || x >= side || y >= side ? 0 : image[y * side + x]);

  // Scale the ink of the canvas so that its longer side has BOX pixels, with its centre of mass in the middle.
  function asMnist(pad) {
    const pixels = pad.getContext("2d").getImageData(0, 0, PAD, PAD).data;
    const ink = new Float32Array(PAD * PAD).map((_, i) => pixels[4 * i] / 255);
    let [mass, cx, cy, left, right, top, bottom] = [0, 0, 0, PAD, 0, PAD, 0];
    ink.forEach((value, i) => {
      if (!value) return;
      const x = i % PAD, y = (i - x) / PAD;
      mass += value;
      cx += value * (x + 0.5);
      cy += value * (y + 0.5);
      [left, right] = [Math.min(left, x), Math.max(right, x + 1)];
      [top, bottom] = [Math.min(top, y), Math.max(bottom, y + 1)];
    });
    const image = blank();
    if (!mass) return image;
    const step = Math.max(right - left, bottom - top) / BOX; // of the canvas, for one pixel of the image
    const points = Math.ceil(step) + 1; // looked at for each pixel, in each direction
    for (let y = 0; y < SIDE; y++)
      for (let x = 0; x < SIDE; x++) {
        let sum = 0;
        for (let j = 0; j < points; j++)
          for (let i = 0; i < points; i++) {
            const u = cx / mass + (x + (i + 0.5) / points - SIDE / 2) * step;
            const v = cy / mass + (y + (j + 0.5) / points - SIDE / 2) * step;
            sum += at(ink, Math.floor(u), Math.floor(v), PAD);
          }
        image[y * SIDE + x] = sum / points ** 2;
      }
    return image;
  }

  // Let strokes grow (or shrink) by so many quarters of a pixel: the largest (smallest) value near each point.
  function thickened(image, quarters) {
    if (!quarters) return image;
    const fine = 4, side = fine * SIDE, reach = Math.abs(quarters), sign = Math.sign(quarters);
    const large = new Float32Array(side * side);
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        const u = (x + 0.5) / fine - 0.5, v = (y + 0.5) / fine - 0.5, i = Math.floor(u), j = Math.floor(v);
        const upper = at(image, i, j) * (i + 1 - u) + at(image, i + 1, j) * (u - i);
        const lower = at(image, i, j + 1) * (i + 1 - u) + at(image, i + 1, j + 1) * (u - i);
        large[y * side + x] = upper * (j + 1 - v) + lower * (v - j);
      }
    const disk = [];
    for (let j = -reach; j <= reach; j++)
      for (let i = -reach; i <= reach; i++) if (i * i + j * j <= reach * reach) disk.push([i, j]);
    const changed = blank();
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        let most = -1;
        for (const [i, j] of disk) most = Math.max(most, sign * at(large, x + i, y + j, side));
        changed[Math.floor(y / fine) * SIDE + Math.floor(x / fine)] += (sign * most) / fine ** 2;
      }
    return changed;
  }

  const shifted = (image, right, down) =>
    image.map((_, i) => at(image, (i % SIDE) - right, Math.floor(i / SIDE) - down));

  // The same grains each time (mulberry32), so that the slider alone changes them.
  function grains() {
    let seed = 1;
    return blank().map(() => {
      seed = (seed + 0x6d2b79f5) | 0;
      let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * 2 - 1;
    });
  }
  const GRAINS = grains();
  const noisy = (image, share) =>
    share ? image.map((value, i) => Math.min(1, Math.max(0, value + share * GRAINS[i]))) : image;

  // ---- Networks --------------------------------------------------------------------------------------------

  async function bytesOf(name) {
    const answer = await fetch(file(name));
    if (!answer.ok) throw new Error(`${name} is not there`);
    return answer.arrayBuffer();
  }

  // A server may have unpacked it on the way.
  async function unpacked(name) {
    const data = await bytesOf(name);
    if (new DataView(data).getUint16(0) !== 0x1f8b) return data;
    return new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  async function loaded() {
    const [runtime, wasm, list, pixels] = await Promise.all([
      import(file("vendor/runtime/ort.wasm.bundle.min.mjs")),
      unpacked("vendor/runtime/ort-wasm-simd-threaded.wasm.gz"),
      bytesOf("networks/networks.json"),
      bytesOf("networks/digits.bin"),
    ]);
    Object.assign(runtime.env.wasm, { wasmBinary: wasm, numThreads: 1 });
    const told = JSON.parse(new TextDecoder().decode(list));
    const networks = {};
    for (const name of Object.keys(told.bytes)) {
      const model = new Uint8Array(await bytesOf(`networks/${name}.onnx`));
      networks[name] = await runtime.InferenceSession.create(model, { executionProviders: ["wasm"] });
    }
    const digits = told.labels.map((label, n) => ({
      label,
      image: Float32Array.from(new Uint8Array(pixels, n * SIDE * SIDE, SIDE * SIDE), (value) => value / 255),
    }));
    return { runtime, networks, digits, bytes: told.bytes };
  }

  async function answerOf({ runtime }, network, image) {
    const input = { [network.inputNames[0]]: new runtime.Tensor("float32", image, [1, 1, SIDE, SIDE]) };
    let output;
    const begin = performance.now();
    for (let run = 0; run < RUNS; run++) output = await network.run(input);
    const ms = (performance.now() - begin) / RUNS;
    const logits = [...output[network.outputNames[0]].data];
    const most = Math.max(...logits);
    const weights = logits.map((one) => Math.exp(one - most));
    const confidence = 1 / weights.reduce((sum, one) => sum + one);
    return { digit: logits.indexOf(most), confidence, ms };
  }

  // ---- The page --------------------------------------------------------------------------------------------

  document.addEventListener("DOMContentLoaded", () => {
    const part = (name) => document.getElementById(`draw-${name}`);
    if (!part("start") || typeof WebAssembly !== "object" || !window.DecompressionStream) return;
    const [pad, seen, digit, status] = ["pad", "seen", "digit", "status"].map(part);
    const sliders = ["thickness", "right", "down", "noise"].map(part);
    const pen = pad.getContext("2d", { willReadFrequently: true });
    let drawn = false, begun = false, all = null, busy = false, again = false;

    const say = (text) => (status.textContent = text);

    function source() {
      if (drawn) return asMnist(pad);
      return all?.digits[digit.value]?.image ?? blank();
    }

    function changed() {
      const [thickness, right, down, noise] = sliders.map((one) => Number(one.value));
      sliders.forEach((one) => (part(`${one.id.slice(5)}-value`).textContent = one.value));
      return noisy(shifted(thickened(source(), thickness), right, down), noise / 100);
    }

    function show(image) {
      const shades = new ImageData(SIDE, SIDE);
      image.forEach((value, i) => shades.data.set([...Array(3).fill(Math.round(255 * value)), 255], 4 * i));
      seen.getContext("2d").putImageData(shades, 0, 0);
    }

    // Answer what stands there now; while networks work, only the newest picture waits.
    async function update() {
      if (!all) return;
      again = true;
      if (busy) return;
      busy = true;
      while (again) {
        again = false;
        const image = changed(), what = drawn ? "drawing" : digit.value;
        show(image);
        const answers = [];
        for (const [name, network] of Object.entries(all.networks)) {
          const { digit: said, confidence, ms } = await answerOf(all, network, image);
          const row = part(name);
          row.querySelector(".answer").textContent = said;
          row.querySelector(".confidence").textContent = `${(100 * confidence).toFixed(0)} %`;
          row.querySelector(".time").textContent = ms.toFixed(2);
          answers.push(said);
        }
        part("answers").dataset.of = what;
        say(`${drawn ? "Your drawing" : `Test digit ${digit.value}, a ${all.digits[digit.value].label}`}: ` +
          `the networks read ${answers.join(", ")}.`);
      }
      busy = false;
    }

    function clear() {
      pen.fillStyle = "black";
      pen.fillRect(0, 0, PAD, PAD);
    }

    function choose() {
      drawn = false;
      clear();
      const image = all.digits[digit.value].image, size = PAD / SIDE;
      image.forEach((value, i) => {
        pen.fillStyle = `rgb(${Array(3).fill(Math.round(255 * value))})`;
        pen.fillRect((i % SIDE) * size, Math.floor(i / SIDE) * size, size, size);
      });
      update();
    }

    function place(event) {
      const box = pad.getBoundingClientRect();
      return [((event.clientX - box.left) * PAD) / box.width, ((event.clientY - box.top) * PAD) / box.height];
    }

    pad.addEventListener("pointerdown", (event) => {
      if (!all) return;
      event.preventDefault();
      pad.setPointerCapture(event.pointerId);
      if (!drawn) clear();
      drawn = begun = true;
      pen.beginPath();
      pen.moveTo(...place(event));
      pen.lineTo(...place(event));
      pen.stroke();
      update();
    });
    pad.addEventListener("pointermove", (event) => {
      if (!begun) return;
      for (const one of event.getCoalescedEvents?.() ?? []) pen.lineTo(...place(one));
      pen.lineTo(...place(event));
      pen.stroke();
      update();
    });
    for (const end of ["pointerup", "pointercancel"]) pad.addEventListener(end, () => (begun = false));

    const arrows = { ArrowLeft: ["right", -1], ArrowRight: ["right", 1], ArrowUp: ["down", -1], ArrowDown: ["down", 1] };
    part("board").addEventListener("keydown", (event) => {
      if (!(event.key in arrows)) return;
      const [way, by] = arrows[event.key];
      part(way).value = Number(part(way).value) + by;
      event.preventDefault();
      update();
    });
    part("clear").addEventListener("click", () => {
      drawn = true;
      clear();
      update();
    });
    part("reset").addEventListener("click", () => {
      for (const one of sliders) one.value = 0;
      update();
    });
    digit.addEventListener("change", choose);
    for (const one of sliders) one.addEventListener("input", update);

    part("start").addEventListener("click", async () => {
      part("start").disabled = true;
      say("Loading ...");
      try {
        all = await loaded();
      } catch (error) {
        part("start").disabled = false;
        say(
          `The networks did not come (${error.message}). A page that is opened as a file may not ask for them, and ` +
            "a site that was built without npm has none: build the book with a network, then serve it, " +
            "python -m http.server --directory _build/html.",
        );
        return;
      }
      Object.assign(pen, { lineWidth: 22, lineCap: "round", lineJoin: "round", strokeStyle: "white" });
      all.digits.forEach(({ label }, n) => digit.add(new Option(`${n}: a ${label}`, n)));
      for (const [name, bytes] of Object.entries(all.bytes))
        part(name).querySelector(".bytes").textContent = bytes.toLocaleString("en");
      part("start").hidden = true;
      part("tool").hidden = false;
      choose();
    });
    part("without").hidden = true;
    part("start").hidden = false;
  });
})();
