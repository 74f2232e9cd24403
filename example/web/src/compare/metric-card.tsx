/** One quantity of both sides: its current value and its history. */
import type { ReactNode } from 'react'
import { Chart } from '../plots/chart.js'
import type { Cost, Frame, SideName } from './use-comparison.js'

export interface MetricCardProps {
  readonly title: string
  readonly hint: string
  readonly frames: readonly Frame[]
  readonly value: (cost: Cost) => number | undefined
  /** The current value, if it differs from the value of the line. @defaultValue the value of the line */
  readonly now?: (cost: Cost) => number | undefined
  readonly format: (value: number) => string
  readonly top: number
  readonly step?: number
  readonly note: string
}

const SIDES = [
  { name: 'polling', word: 'Polling' },
  { name: 'streaming', word: 'SSE' },
] as const

export function MetricCard(props: MetricCardProps): ReactNode {
  const { title, hint, frames, value, now = value, format, top, step = 1, note } = props
  const last = frames.at(-1)
  const formatNow = (name: SideName): string => {
    const amount = last && now(last[name])
    return amount === undefined ? '–' : format(amount)
  }
  return (
    <section className="panel metric" aria-labelledby={title}>
      <header>
        <h2 id={title}>{title}</h2>
        <p className="hint">{hint}</p>
      </header>
      <dl>
        {SIDES.map(({ name, word }) => (
          <div key={name} className={name}>
            <dt>{word}</dt>
            <dd data-testid={`${name}-${title.toLowerCase()}`}>{formatNow(name)}</dd>
          </div>
        ))}
      </dl>
      <Chart
        frames={frames}
        format={format}
        top={top}
        step={step}
        series={SIDES.map(({ name }) => ({
          className: name,
          value: (frame: Frame) => value(frame[name]),
          filled: true,
        }))}
      />
      <p className="hint">{note}</p>
    </section>
  )
}
