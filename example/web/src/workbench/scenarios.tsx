import { memo, type ReactNode } from 'react'
import type { WorkbenchState } from '../../../server/workbench/state.js'
import type { SendCommand } from './use-workbench.js'

export interface ScenariosProps {
  readonly scenarios: WorkbenchState['scenarios']
  readonly played: string | null
  readonly sendCommand: SendCommand
}

/** Buttons that restart the workbench with a prepared scenario. */
export const Scenarios = memo(function Scenarios({ scenarios, played, sendCommand }: ScenariosProps): ReactNode {
  return (
    <section className="panel" aria-labelledby="scenarios">
      <header>
        <h2 id="scenarios">Scenarios</h2>
      </header>
      <ul className="scenarios">
        {scenarios.map(({ id, title, text }) => (
          <li key={id}>
            <button
              type="button"
              data-testid={`scenario-${id}`}
              aria-label={title}
              aria-describedby={`about-${id}`}
              aria-current={id === played}
              onClick={() => void sendCommand('POST', `/scenarios/${id}`)}
            >
              <strong>{title}</strong>
              <span id={`about-${id}`}>{text}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  )
})
