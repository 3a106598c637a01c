// The pixels of a picture file as they are in it: uint8 [height, width, 4], upright.
"use strict";

const MOST_PIXELS = 64_000_000; // as mnistkit.digits.pictures has it
const EXACT_PIXELS = 16_000_000; // more are reduced: no model needs them, and telephones have no larger canvas

// Without these options a browser converts colors to its screen's and multiplies them with the transparency.
const AS_STORED = { premultiplyAlpha: "none", colorSpaceConversion: "none", imageOrientation: "from-image" };

// {data, width, height, bitmap}; `bitmap` shows the picture.
async function readPicture(file) {
  let bitmap;
  try {
    bitmap = await decode(file);
  } catch {
    throw new Error(`${file.name || "This"} is not a picture that this browser can show.`);
  }
  const count = bitmap.width * bitmap.height;
  if (count > MOST_PIXELS) throw new Error(`${file.name || "This picture"} has ${bitmap.width} × ${bitmap.height} pixels; make it smaller.`);
  if (count > EXACT_PIXELS) {
    const scale = Math.sqrt(EXACT_PIXELS / count);
    const [resizeWidth, resizeHeight] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.floor(side * scale)));
    bitmap = await decode(bitmap, { resizeWidth, resizeHeight, resizeQuality: "medium" });
  }
  const { width, height } = bitmap;
  const drawn = drawnPixels(bitmap);
  const opaque = drawn.every((value, at) => at % 4 !== 3 || value === 255);
  return { data: (opaque ? null : storedPixels(bitmap)) ?? drawn, width, height, bitmap };
}

async function decode(source, size = {}) {
  try {
    return await createImageBitmap(source, { ...AS_STORED, ...size });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return createImageBitmap(source, size); // a browser that does not know one of the options
  }
}

function drawnPixels(source, { width, height } = source) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

// A canvas keeps colors multiplied with the transparency, which loses them where little is seen. A texture does not.
function storedPixels(bitmap) {
  const { width, height } = bitmap;
  const gl = document.createElement("canvas").getContext("webgl2");
  if (gl === null || Math.max(width, height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return null;
  gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
  gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  gl.bindFramebuffer(gl.FRAMEBUFFER, gl.createFramebuffer());
  const texture = gl.getParameter(gl.TEXTURE_BINDING_2D);
  gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
  const data = new Uint8ClampedArray(width * height * 4);
  const bytes = new Uint8Array(data.buffer);
  const works = gl.checkFramebufferStatus(gl.FRAMEBUFFER) === gl.FRAMEBUFFER_COMPLETE;
  if (works) gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  const failed = !works || gl.getError() !== gl.NO_ERROR;
  gl.getExtension("WEBGL_lose_context")?.loseContext();
  return failed ? null : data;
}
