// Numbers and times as people read them.
export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
export const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const percent = (share) => share === 1 ? "100 %" : `${(Math.floor(share * 1000) / 10).toFixed(1)} %`;
export const sum = (numbers) => numbers.reduce((left, right) => left + right, 0);
export const plural = (count, one, many) => `${whole.format(count)} ${count === 1 ? one : many}`;
export const clock = (text) => new Date(text).toLocaleTimeString("en-GB");

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function age(seconds) {
  const steps = [[86400, "d"], [3600, "h"], [60, "min"]];
  const step = steps.find(([size]) => seconds >= size);
  return step ? `${Math.floor(seconds / step[0])} ${step[1]}` : `${seconds} s`;
}

export function dollars(amount) {
  return amount === 0 ? "0" : amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(2);
}
