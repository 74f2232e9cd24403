import { createContext } from 'react'
import type { EventBus } from '../client/bus.js'

/** The bus of the nearest provider; `undefined` outside of a provider. */
export const BusContext = createContext<EventBus | undefined>(undefined)
