// The drawing pad. Knows nothing of where answers come from: the server's page and the page of `mnistkit export --web`
// share it. A classic script, as all files here: a page that is opened from a disk may not load modules.
"use strict";

const STEP = 14; // canvas pixels that an arrow key moves the pen

class Pad {
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

  // Whether a picture is shown and nothing is drawn over it.
  get showsPicture() {
    return this.strokes.length === 0 && this.picture !== null;
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

  // What a reader gets: dark ink on white, whatever colors the screen shows.
  copy(side) {
    const copy = document.createElement("canvas");
    copy.width = copy.height = side;
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.scale(side / this.canvas.width, side / this.canvas.height);
    this.#draw(context, "#fff", "#000", this.canvas.width, this.canvas.height);
    return copy;
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
      this.context.fillText(this.canvas.dataset.hint, width / 2, height / 2);
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
