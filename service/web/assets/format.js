// Numbers as people read them: three significant digits, units that fit the size.

const SCALES = [
  [1e15, "P"],
  [1e12, "T"],
  [1e9, "B"],
  [1e6, "M"],
  [1e3, "k"],
];

/** Three significant digits, grouped, without a trailing exponent. */
export function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  return Number(value).toLocaleString("en", { maximumSignificantDigits: digits });
}

/** A count with k, M, B or T where it is large. */
export function count(value) {
  const scale = SCALES.find(([least]) => Math.abs(value) >= least && Math.abs(value) >= 1e4);
  return scale ? `${number(value / scale[0])}\u00a0${scale[1]}` : number(value);
}

/** A share as a percentage. */
export const percent = (share) =>
  share === null || share === undefined ? "–" : `${number(share * 100, share < 0.1 ? 2 : 3)}\u00a0%`;

/** Dollars. */
export function dollars(value) {
  if (value >= 1e4) return `$${count(value)}`;
  return `$${value.toLocaleString("en", { maximumFractionDigits: value < 100 ? 2 : 0 })}`;
}

const TIMES = [
  [2 * 365.25 * 24, 365.25 * 24, "years"],
  [48, 24, "days"],
  [2, 1, "hours"],
  [1 / 30, 1 / 60, "minutes"],
  [1 / 3600, 1 / 3600, "s"],
  [1 / 3.6e6, 1 / 3.6e6, "ms"],
  [0, 1 / 3.6e9, "µs"],
];

// A unit is [least size it is used for, size of one, name], largest first.
const MASSES = [
  [1e4, 1e3, "t"],
  [0, 1, "kg"],
];
const ENERGIES = [
  [1e6, 1e6, "GWh"],
  [1e4, 1e3, "MWh"],
  [0, 1, "kWh"],
];

function inUnit(units, value, like) {
  const [, size, name] = units.find(([least]) => like >= least);
  return `${number(value / size)}\u00a0${name}`;
}

/** Hours in the unit that fits them, or that fits `like`: the ends of an interval go in the unit of its median. */
export const duration = (hours, like = hours) => inUnit(TIMES, hours, like);

/** Seconds in the unit that fits. */
export const seconds = (value, like = value) => duration(value / 3600, like / 3600);

/** Kilograms, or tonnes. */
export const mass = (kilograms, like = kilograms) => inUnit(MASSES, kilograms, like);

/** Kilowatt-hours, megawatt-hours or gigawatt-hours. */
export const energy = (kilowattHours, like = kilowattHours) => inUnit(ENERGIES, kilowattHours, like);

/** An interval in words: "80 days to 171 days", both ends as `show` writes them. */
export function range(quantity, show) {
  return `${show(quantity.p10, quantity.p50)} to ${show(quantity.p90, quantity.p50)}`;
}

/** A dotted name in words: `tensor_communication` is "tensor communication". */
export const words = (name) => name.replaceAll("_", " ");
