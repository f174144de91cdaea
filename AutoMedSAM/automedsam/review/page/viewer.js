// Three planes of one volume. Voxels come once, as bytes of the axial frames: slices from inferior to superior, rows
// from anterior to posterior, columns from right to left; the other planes are cut from them here.

export const PLANES = ["axial", "coronal", "sagittal"];
const AXIS = { axial: 0, coronal: 1, sagittal: 2 };
const SIDES = { axial: ["A", "P"], coronal: ["S", "I"], sagittal: ["S", "I"] };
const ENDS = { axial: ["R", "L"], coronal: ["R", "L"], sagittal: ["A", "P"] };

export class Viewer {
  constructor(box, moved) {
    this.moved = moved;
    this.views = Object.fromEntries(PLANES.map(plane => [plane, box.querySelector(`[data-plane=${plane}]`)]));
    this.active = "axial";
    this.outline = true;
    this.level = 255;
    this.volume = null;
    this.picture = document.createElement("canvas");
    for (const plane of PLANES) {
      const view = this.views[plane];
      view.addEventListener("wheel", event => {
        event.preventDefault();
        this.activate(plane);
        this.step(Math.sign(event.deltaY));
      }, { passive: false });
      view.addEventListener("pointerdown", event => this.point(plane, event));
      view.addEventListener("pointermove", event => event.buttons === 1 && this.point(plane, event));
    }
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(volume) {
    this.volume = volume;
    if (volume) {
      this.position = this.center(volume);
      this.activate(volume.plane);
    }
    this.draw();
  }

  // The slice of the run's plane with most labels, and the middle of what is labelled there.
  center({ labels, shape, plane }) {
    const [slices, rows, columns] = shape;
    const axis = AXIS[plane];
    const counts = new Float64Array(shape[axis]);
    const sums = [0, 1, 2].map(() => new Float64Array(shape[axis]));
    for (let n = 0, at = 0; n < slices; n++)
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++, at++)
          if (labels[at]) {
            const place = [n, r, c], index = place[axis];
            counts[index]++;
            for (let k = 0; k < 3; k++) sums[k][index] += place[k];
          }
    const best = counts.indexOf(Math.max(...counts));
    if (!counts[best]) return shape.map(size => size >> 1);
    return sums.map((sum, k) => (k === axis ? best : Math.round(sum[best] / counts[best])));
  }

  activate(plane) {
    this.active = plane;
    for (const name of PLANES) this.views[name].classList.toggle("active", name === plane);
  }

  get index() { return this.volume ? this.position[AXIS[this.active]] : 0; }

  step(count) { if (this.volume) this.go(this.active, this.position[AXIS[this.active]] + count); }

  go(plane, index) {
    const axis = AXIS[plane];
    this.position[axis] = Math.max(0, Math.min(this.volume.shape[axis] - 1, index));
    this.draw();
    this.moved();
  }

  // Rows, columns, their size in mm, and where pixel (row, column) lies in the bytes.
  layout(plane) {
    const { shape: [N, H, W], spacing: [dn, dh, dw] } = this.volume;
    const [n, h, w] = this.position;
    if (plane === "axial") return [H, W, dh, dw, (r, c) => (n * H + r) * W + c];
    if (plane === "coronal") return [N, W, dn, dw, (r, c) => ((N - 1 - r) * H + h) * W + c];
    return [N, H, dn, dh, (r, c) => ((N - 1 - r) * H + c) * W + w];
  }

  fit(plane) {
    const [rows, columns, down, across] = this.layout(plane);
    const { clientWidth: width, clientHeight: height } = this.views[plane];
    const scale = Math.min(width / (columns * across), height / (rows * down));
    const sx = across * scale, sy = down * scale;
    return { sx, sy, x: (width - columns * sx) / 2, y: (height - rows * sy) / 2, width, height };
  }

  point(plane, event) {
    if (!this.volume) return;
    this.activate(plane);
    const [rows, columns] = this.layout(plane);
    const { sx, sy, x, y } = this.fit(plane);
    const bounds = this.views[plane].getBoundingClientRect();
    const column = Math.max(0, Math.min(columns - 1, Math.floor((event.clientX - bounds.left - x) / sx)));
    const row = Math.max(0, Math.min(rows - 1, Math.floor((event.clientY - bounds.top - y) / sy)));
    if (plane === "axial") this.position = [this.position[0], row, column];
    else if (plane === "coronal") this.position = [rows - 1 - row, this.position[1], column];
    else this.position = [rows - 1 - row, column, this.position[2]];
    this.draw();
    this.moved();
  }

  draw() { for (const plane of PLANES) this.drawPlane(plane); }

  drawPlane(plane) {
    const view = this.views[plane], canvas = view.querySelector("canvas"), caption = view.querySelector("figcaption");
    const ratio = window.devicePixelRatio || 1;
    canvas.width = view.clientWidth * ratio;
    canvas.height = view.clientHeight * ratio;
    caption.textContent = "";
    if (!this.volume || !view.clientWidth) return;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const [rows, columns, , , at] = this.layout(plane);
    const { sx, sy, x, y, width, height } = this.fit(plane);
    this.drawPixels(rows, columns, at);
    context.imageSmoothingEnabled = true;
    context.drawImage(this.picture, x, y, columns * sx, rows * sy);
    if (this.outline) this.drawOutlines(context, rows, columns, at, { sx, sy, x, y });
    const axis = AXIS[plane];
    caption.textContent = `${plane} ${this.position[axis] + 1} / ${this.volume.shape[axis]}`;
    context.fillStyle = "#cfd8e2";
    context.font = "12px system-ui, sans-serif";
    context.textAlign = "center";
    context.strokeStyle = "#000";
    context.lineWidth = 3;
    const letter = (text, left, top) => {
      context.strokeText(text, left, top);
      context.fillText(text, left, top);
    };
    letter(SIDES[plane][0], width / 2, 14);
    letter(SIDES[plane][1], width / 2, height - 5);
    letter(ENDS[plane][0], 10, height / 2 - 6);
    letter(ENDS[plane][1], width - 10, height / 2 - 6);
    this.drawCross(context, plane, { sx, sy, x, y, width, height, rows });
  }

  drawPixels(rows, columns, at) {
    const { image } = this.volume;
    this.picture.width = columns;
    this.picture.height = rows;
    const context = this.picture.getContext("2d");
    const data = context.createImageData(columns, rows);
    const pixels = new Uint32Array(data.data.buffer);
    const shades = Uint32Array.from({ length: 256 }, (_, value) => {
      const gray = Math.min(255, Math.round((value * 255) / this.level));
      return 0xff000000 | (gray << 16) | (gray << 8) | gray;
    });
    if (image) for (let r = 0, p = 0; r < rows; r++) for (let c = 0; c < columns; c++, p++) pixels[p] = shades[image[at(r, c)]];
    else pixels.fill(0xff202020);
    context.putImageData(data, 0, 0);
  }

  // Along the edges of voxels, so that nothing is smoothed away.
  drawOutlines(context, rows, columns, at, { sx, sy, x, y }) {
    const { labels, segments } = this.volume;
    for (const segment of segments) {
      const inside = (r, c) => r >= 0 && c >= 0 && r < rows && c < columns && labels[at(r, c)] === segment.value;
      context.beginPath();
      for (let r = 0; r <= rows; r++)
        for (let c = 0; c <= columns; c++) {
          const here = inside(r, c);
          if (here !== inside(r - 1, c)) {
            context.moveTo(x + c * sx, y + r * sy);
            context.lineTo(x + (c + 1) * sx, y + r * sy);
          }
          if (here !== inside(r, c - 1)) {
            context.moveTo(x + c * sx, y + r * sy);
            context.lineTo(x + c * sx, y + (r + 1) * sy);
          }
        }
      context.strokeStyle = `rgb(${segment.color.map(part => Math.round(part * 255)).join(",")})`;
      context.lineWidth = 1.6;
      context.stroke();
    }
  }

  drawCross(context, plane, { sx, sy, x, y, width, height, rows }) {
    const [n, h, w] = this.position;
    const column = plane === "sagittal" ? h : w;
    const row = plane === "axial" ? h : rows - 1 - n;
    context.strokeStyle = "rgba(74, 163, 223, .45)";
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x + (column + 0.5) * sx, 0);
    context.lineTo(x + (column + 0.5) * sx, height);
    context.moveTo(0, y + (row + 0.5) * sy);
    context.lineTo(width, y + (row + 0.5) * sy);
    context.stroke();
  }
}
