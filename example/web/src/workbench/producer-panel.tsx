/** The rate, the size and the bursts of the published events. */
import { memo, type ReactNode, useState } from 'react'
import type { ProducerSettings } from '../../../server/workbench/settings.js'
import { bytes, count } from '../plots/format.js'
import type { SendCommand } from './use-workbench.js'

const RATES = [1, 2, 5, 10, 20, 40, 60, 100, 200, 500, 1000]
const BURSTS = [1, 2, 5, 10, 20, 60, 100, 200, 500]
const SIZES = [64, 256, 1024, 4096, 16_384]

export interface ProducerPanelProps {
  readonly producer: ProducerSettings
  readonly sendCommand: SendCommand
}

export const ProducerPanel = memo(function ProducerPanel({ producer, sendCommand }: ProducerPanelProps): ReactNode {
  const change = (settings: Partial<ProducerSettings>): Promise<void> => sendCommand('PATCH', '/producer', settings)
  const { running, eventsPerSecond, burst, eventBytes } = producer
  return (
    <section className="panel" aria-labelledby="producer">
      <header>
        <h2 id="producer">Producer</h2>
        <button
          type="button"
          className={running ? '' : 'primary'}
          data-testid="producer-switch"
          onClick={() => void change({ running: !running })}
        >
          {running ? 'Pause' : 'Start'}
        </button>
      </header>
      <div className="sliders">
        <Slider
          label="Events a second"
          steps={RATES}
          value={eventsPerSecond}
          format={count}
          onChange={(value) => change({ eventsPerSecond: value })}
        />
        <Slider
          label="In bursts of"
          steps={BURSTS}
          value={burst}
          format={count}
          onChange={(value) => change({ burst: value })}
        />
        <Slider
          label="Event size"
          steps={SIZES}
          value={eventBytes}
          format={bytes}
          onChange={(value) => change({ eventBytes: value })}
        />
      </div>
    </section>
  )
})

interface SliderProps {
  readonly label: string
  readonly steps: readonly number[]
  readonly value: number
  readonly format: (value: number) => string
  readonly onChange: (value: number) => Promise<void>
}

function Slider({ label, steps, value, format, onChange }: SliderProps): ReactNode {
  // The position of the slider until the server answered.
  const [draft, setDraft] = useState<number>()
  const shown = draft ?? value
  const index = steps.findLastIndex((step) => step <= shown)
  return (
    <label>
      <span>{label}</span>
      <strong aria-hidden="true">{format(shown)}</strong>
      <input
        type="range"
        min={0}
        max={steps.length - 1}
        value={Math.max(0, index)}
        aria-valuetext={format(shown)}
        onChange={({ target }) => {
          const chosen = steps[Number(target.value)] ?? shown
          setDraft(chosen)
          void onChange(chosen).finally(() => setDraft(undefined))
        }}
      />
    </label>
  )
}
