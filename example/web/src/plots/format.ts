/** Formats numbers for plots and cards with few digits, so that the layout does not move when they change. */
export function count(value: number): string {
  if (value >= 100_000) return `${Math.round(value / 1000)}k`
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}k`
  return Math.round(value).toLocaleString('en')
}

export function bytes(value: number): string {
  if (value >= 1_048_576) return `${trimmed(value / 1_048_576)} MiB`
  if (value >= 1024) return `${trimmed(value / 1024)} KiB`
  return `${Math.round(value)} B`
}

export function duration(ms: number): string {
  if (ms >= 10_000) return `${Math.round(ms / 1000)} s`
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`
}

function trimmed(value: number): string {
  return value >= 10 ? String(Math.round(value)) : value.toFixed(1).replace(/\.0$/, '')
}
