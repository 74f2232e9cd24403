/** The settings of one client and its stream. Speed and pacing change immediately; other changes reopen the stream. */
import { memo, type ReactNode } from 'react'
import type { ClientSettings, PacingSettings, QueuePolicy } from '../../../server/workbench/settings.js'
import type { ClientState, WorkbenchState } from '../../../server/workbench/state.js'
import { bytes } from '../plots/format.js'

const SPEEDS = [null, 1_048_576, 262_144, 65_536, 16_384, 0]
const WINDOWS = [null, 1, 10, 20, 50, 200]
const QUEUE_POLICIES: { readonly [name in QueuePolicy]: string } = {
  replay: 'replay',
  'drop-oldest': 'drop oldest',
  'drop-newest': 'drop newest',
  'drop-random': 'drop random',
  'drop-low-priority': 'drop low priority',
  coalesce: 'coalesce',
  disconnect: 'disconnect',
}

export interface ClientSettingsProps {
  readonly client: ClientState
  readonly presets: WorkbenchState['presets']
  readonly onChange: (change: Partial<ClientSettings>) => void
}

export const ClientSettingsForm = memo(function ClientSettingsForm(props: ClientSettingsProps): ReactNode {
  const { client, presets, onChange } = props
  const { readBytesPerSecond, queuePolicy, queueEvents, pacing, window, polls } = client
  return (
    <details>
      <summary>{summaryOf(client)}</summary>
      <div className="settings">
        <Choice
          label="Reads"
          value={readBytesPerSecond}
          choices={SPEEDS}
          word={speedWord}
          onChange={(value) => onChange({ readBytesPerSecond: value })}
        />
        <label>
          <span>When behind</span>
          <select
            value={queuePolicy}
            onChange={({ target }) => {
              const chosen = target.value as QueuePolicy
              onChange({ queuePolicy: chosen, ...(chosen !== 'replay' && { window: null }) })
            }}
          >
            {Object.entries(QUEUE_POLICIES).map(([name, word]) => (
              <option key={name} value={name}>
                {word}
              </option>
            ))}
          </select>
        </label>
        <PacingChoice pacing={pacing} presets={presets} onChange={onChange} />
        <NumberField
          label="Queue"
          value={queueEvents}
          disabled={queuePolicy === 'replay'}
          onChange={(value) => onChange({ queueEvents: value })}
        />
        <Choice
          label="Ack window"
          value={window}
          choices={WINDOWS}
          word={(value) => (value === null ? 'none' : String(value))}
          disabled={queuePolicy !== 'replay'}
          onChange={(value) => onChange({ window: value })}
        />
        <label className="check">
          <span>May poll</span>
          <input type="checkbox" checked={polls} onChange={({ target }) => onChange({ polls: target.checked })} />
        </label>
      </div>
    </details>
  )
})

/** The settings that differ from the defaults, in short form. */
function summaryOf({ readBytesPerSecond, queuePolicy, queueEvents, pacing, window }: ClientSettings): string {
  const words = [queuePolicy === 'replay' ? QUEUE_POLICIES.replay : `${QUEUE_POLICIES[queuePolicy]}, ${queueEvents}`]
  if (pacing !== null) words.push(rateWord(pacing))
  if (window !== null) words.push(`window ${window}`)
  if (readBytesPerSecond !== null) words.push(`reads ${speedWord(readBytesPerSecond)}`)
  return words.join(' · ')
}

/** The burst, and the rate after it. */
function rateWord({ capacity, refillPerSecond }: PacingSettings): string {
  return `${capacity} + ${refillPerSecond}/s`
}

function speedWord(value: number | null): string {
  if (value === null) return 'at once'
  return value === 0 ? 'nothing' : `${bytes(value)}/s`
}

interface ChoiceProps {
  readonly label: string
  readonly value: number | null
  readonly choices: readonly (number | null)[]
  readonly word: (value: number | null) => string
  readonly disabled?: boolean
  readonly onChange: (value: number | null) => void
}

function Choice({ label, value, choices, word, disabled = false, onChange }: ChoiceProps): ReactNode {
  // The endpoints accept any number, so the value may not be one of the choices.
  const all = choices.includes(value) ? choices : [...choices, value]
  return (
    <label>
      <span>{label}</span>
      <select
        value={String(value)}
        disabled={disabled}
        onChange={({ target }) => onChange(target.value === 'null' ? null : Number(target.value))}
      >
        {all.map((choice) => (
          <option key={String(choice)} value={String(choice)}>
            {word(choice)}
          </option>
        ))}
      </select>
    </label>
  )
}

interface PacingChoiceProps extends Pick<ClientSettingsProps, 'presets' | 'onChange'> {
  readonly pacing: ClientSettings['pacing']
}

function PacingChoice({ pacing, presets, onChange }: PacingChoiceProps): ReactNode {
  const same = (rate: ClientSettings['pacing']): boolean =>
    rate?.capacity === pacing?.capacity && rate?.refillPerSecond === pacing?.refillPerSecond
  const preset = Object.keys(presets).find((name) => same(presets[name] ?? null))
  const chosen = pacing === null ? 'none' : (preset ?? 'own')
  return (
    <label>
      <span>Pacing</span>
      <select
        value={chosen}
        onChange={({ target }) => onChange({ pacing: presets[target.value] ?? null })}
        title="burst + events a second"
      >
        <option value="none">none</option>
        {Object.entries(presets).map(([name, rate]) => (
          <option key={name} value={name}>
            {name} {rateWord(rate)}
          </option>
        ))}
        {pacing !== null && chosen === 'own' && <option value="own">{rateWord(pacing)}</option>}
      </select>
    </label>
  )
}

interface NumberFieldProps {
  readonly label: string
  readonly value: number
  readonly disabled: boolean
  readonly onChange: (value: number) => void
}

/** Commits the number when the field loses the focus, or on Enter. */
function NumberField({ label, value, disabled, onChange }: NumberFieldProps): ReactNode {
  const commit = (field: HTMLInputElement): void => {
    const entered = Number(field.value)
    if (field.checkValidity() && entered !== value) onChange(entered)
    else field.value = String(value)
  }
  return (
    <label>
      <span>{label}</span>
      <input
        key={value}
        type="number"
        min={1}
        max={1000}
        required
        defaultValue={value}
        disabled={disabled}
        onBlur={({ currentTarget }) => commit(currentTarget)}
        onKeyDown={({ key, currentTarget }) => {
          if (key === 'Enter') commit(currentTarget)
        }}
      />
    </label>
  )
}
