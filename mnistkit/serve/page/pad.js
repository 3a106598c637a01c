// The drawing pad and the view of an answer. Knows nothing of where answers come from, so that the server's page and a
// page that runs the model in the browser can share it.

const STEP = 14; // canvas pixels that an arrow key moves the pen

export class Pad {
  // `changed` is called after every change, with true when the pad is empty.
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.changed = changed;
    this.strokes = [];
    this.picture = null;
    this.pen = { x: canvas.width / 2, y: canvas.height / 4, down: false, shown: false };
    this.#listen();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }

  get empty() {
    return this.strokes.length === 0 && this.picture === null;
  }

  clear() {
    this.strokes = [];
    this.picture = null;
    this.pen.down = false;
    this.#update();
  }

  undo() {
    if (this.strokes.length) this.strokes.pop();
    else this.picture = null;
    this.pen.down = false;
    this.#update();
  }

  show(picture) {
    this.strokes = [];
    this.picture = picture;
    this.#update();
  }

  // What a reader gets: dark ink on white, whatever colours the screen shows.
  blob() {
    const copy = document.createElement("canvas");
    copy.width = this.canvas.width;
    copy.height = this.canvas.height;
    this.#draw(copy.getContext("2d"), "#fff", "#000", copy.width, copy.height);
    return new Promise((resolve) => copy.toBlob(resolve, "image/png"));
  }

  paint() {
    const style = getComputedStyle(this.canvas);
    const { width, height } = this.canvas;
    this.#draw(this.context, style.backgroundColor, style.color, width, height);
    if (this.empty) {
      this.context.font = `${width / 18}px system-ui, sans-serif`;
      this.context.textAlign = "center";
      this.context.fillStyle = style.color;
      this.context.globalAlpha = 0.35;
      this.context.fillText("0 to 9, here", width / 2, height / 2);
      this.context.globalAlpha = 1;
    }
    if (this.pen.shown) {
      this.context.beginPath();
      this.context.arc(this.pen.x, this.pen.y, this.pen.down ? 9 : 14, 0, 7);
      this.context.strokeStyle = style.accentColor;
      this.context.lineWidth = 4;
      this.context.stroke();
    }
  }

  #draw(context, paper, ink, width, height) {
    context.fillStyle = paper;
    context.fillRect(0, 0, width, height);
    if (this.picture) {
      context.fillStyle = "#fff";
      context.fillRect(0, 0, width, height);
      const scale = Math.min(width / this.picture.width, height / this.picture.height);
      const [w, h] = [this.picture.width * scale, this.picture.height * scale];
      context.drawImage(this.picture, (width - w) / 2, (height - h) / 2, w, h);
    }
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = width / 14;
    context.strokeStyle = ink;
    for (const stroke of this.strokes) {
      context.beginPath();
      context.moveTo(stroke[0].x, stroke[0].y);
      for (const point of stroke) context.lineTo(point.x, point.y);
      if (stroke.length === 1) context.lineTo(stroke[0].x + 0.1, stroke[0].y);
      context.stroke();
    }
  }

  #update() {
    this.paint();
    this.changed(this.empty);
  }

  #listen() {
    const { canvas } = this;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return {
        x: ((event.clientX - box.left) * canvas.width) / box.width,
        y: ((event.clientY - box.top) * canvas.height) / box.height,
      };
    };
    let drawing = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (drawing !== null || event.button > 0) return;
      drawing = event.pointerId;
      canvas.setPointerCapture(event.pointerId);
      this.pen.shown = this.pen.down = false;
      this.strokes.push([place(event)]);
      this.#update();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerId !== drawing) return;
      const between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
      for (const one of between.length ? between : [event]) this.strokes.at(-1).push(place(one));
      this.#update();
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => {
        if (event.pointerId === drawing) drawing = null;
      });
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => {
      this.pen.shown = canvas.matches(":focus-visible");
      this.paint();
    });
    canvas.addEventListener("blur", () => {
      this.pen.shown = this.pen.down = false;
      this.paint();
    });
  }

  #key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { pen, canvas } = this;
    if (event.key in moves) {
      pen.shown = true;
      const [x, y] = moves[event.key];
      pen.x = Math.min(canvas.width, Math.max(0, pen.x + x * STEP));
      pen.y = Math.min(canvas.height, Math.max(0, pen.y + y * STEP));
      if (pen.down) {
        this.strokes.at(-1).push({ x: pen.x, y: pen.y });
        this.#update();
      } else this.paint();
    } else if (event.key === " ") {
      pen.shown = true;
      pen.down = !pen.down;
      if (pen.down) this.strokes.push([{ x: pen.x, y: pen.y }]);
      this.#update();
    } else if (event.key === "Escape") this.clear();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else return;
    event.preventDefault();
  }
}

export class Answer {
  constructor({ digit, seen, bars, status }) {
    Object.assign(this, { digit, seen, bars, status });
    for (let number = 0; number < 10; number += 1) {
      const row = document.createElement("li");
      const label = document.createElement("span");
      const meter = document.createElement("div");
      const share = document.createElement("span");
      label.textContent = number;
      meter.className = "meter";
      meter.setAttribute("role", "meter");
      meter.setAttribute("aria-label", `probability of ${number}`);
      meter.setAttribute("aria-valuemax", 100);
      meter.append(document.createElement("div"));
      row.append(label, meter, share);
      bars.append(row);
    }
    this.nothing("Nothing drawn yet.");
  }

  // `seen` is 28 rows of 28 numbers in [0, 1]; `probabilities` ten numbers.
  show({ label, digit, probabilities, confidence, seen }) {
    this.digit.textContent = label;
    this.digit.classList.remove("none");
    this.#bars(probabilities, digit);
    this.#picture(seen);
    this.seen.setAttribute("aria-label", `What the model saw, read as ${label}`);
    this.status.textContent = `${(confidence * 100).toFixed(1)} % sure`;
  }

  nothing(message) {
    this.digit.textContent = "?";
    this.digit.classList.add("none");
    this.#bars(new Array(10).fill(0), -1);
    this.#picture(null);
    this.seen.setAttribute("aria-label", "What the model saw: nothing yet");
    this.status.textContent = message;
  }

  #bars(probabilities, best) {
    probabilities.forEach((share, number) => {
      const row = this.bars.children[number];
      row.classList.toggle("best", number === best);
      row.children[1].setAttribute("aria-valuenow", (share * 100).toFixed(1));
      row.children[1].firstChild.style.width = `${share * 100}%`;
      row.children[2].textContent = best < 0 ? "" : `${(share * 100).toFixed(1)} %`;
    });
  }

  #picture(rows) {
    const context = this.seen.getContext("2d");
    const image = context.createImageData(28, 28);
    for (let at = 0; at < 784; at += 1) {
      const grey = rows ? Math.round(rows[Math.floor(at / 28)][at % 28] * 255) : 0;
      image.data.set([grey, grey, grey, 255], at * 4);
    }
    context.putImageData(image, 0, 0);
  }
}
