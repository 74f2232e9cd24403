/** The process: its publish rate, queues, memory and event loop delay. */
import type { ReactNode } from 'react'
import { bytes, count, duration } from '../plots/format.js'
import type { Frame } from './frames.js'
import { Plot } from './plot.js'

export interface ProcessPanelProps {
  readonly frames: readonly Frame[]
  readonly maxQueuedBytes: number
}

const PRESSURE = {
  none: { word: 'No pressure', meaning: 'All limits are kept' },
  pressed: { word: 'Pressed', meaning: 'New streams are refused, and the largest queues are shed' },
  sustained: { word: 'Sustained', meaning: 'Streams are moved to polling' },
} as const

export function ProcessPanel({ frames, maxQueuedBytes }: ProcessPanelProps): ReactNode {
  const last = frames.at(-1)
  const pressure = last?.pressure ?? 'none'
  const { word, meaning } = PRESSURE[pressure]
  return (
    <section className="panel" aria-labelledby="process">
      <header>
        <h2 id="process">Process</h2>
        <p className="hint">
          {count(last?.published ?? 0)} events, streams: {last?.streams ?? 0}
        </p>
        <span className={`state ${pressure}`} title={meaning} role="status" data-testid="pressure">
          {word}
        </span>
      </header>
      <div className="plots four">
        <Plot
          label="Published a second"
          tone="process"
          frames={frames}
          value={({ publishedPerSecond }) => publishedPerSecond}
          format={count}
          top={10}
        />
        <Plot
          label="In all queues"
          tone="queue"
          frames={frames}
          value={({ queuedBytes }) => queuedBytes}
          format={bytes}
          top={maxQueuedBytes}
          step={1_048_576}
          bound={maxQueuedBytes}
          shade={({ pressure }) => (pressure === 'none' ? undefined : pressure)}
        />
        <Plot
          label="Memory (RSS)"
          tone="process"
          frames={frames}
          value={({ rssBytes }) => rssBytes}
          format={bytes}
          top={104_857_600}
          step={1_048_576}
        />
        <Plot
          label="Event loop delay"
          tone="process"
          frames={frames}
          value={({ loopDelayMs }) => loopDelayMs}
          format={duration}
          top={20}
        />
      </div>
    </section>
  )
}
