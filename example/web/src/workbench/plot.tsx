/** One quantity over the last minute: a line, its axis, and the current value. */
import type { ReactNode } from 'react'
import { Chart, type ChartProps, type Value } from '../plots/chart.js'
import type { Frame } from './frames.js'

export interface PlotProps extends Omit<ChartProps<Frame>, 'series'> {
  readonly label: string
  /** The colour, by quantity. */
  readonly tone: 'queue' | 'lag' | 'drops' | 'tokens' | 'process'
  readonly value: Value<Frame>
  /** A second, fainter line behind the first. */
  readonly beside?: Value<Frame>
}

export function Plot({ label, tone, value, beside, ...chart }: PlotProps): ReactNode {
  const last = chart.frames.at(-1)
  const now = last && value(last)
  const behind = beside === undefined ? [] : [{ className: 'beside', value: beside }]
  return (
    <figure className={`plot ${tone}`}>
      <figcaption>
        <span>{label}</span>
        <output>{now === null || now === undefined ? '–' : chart.format(now)}</output>
      </figcaption>
      <Chart {...chart} series={[...behind, { className: 'main', value, filled: true }]} />
    </figure>
  )
}
