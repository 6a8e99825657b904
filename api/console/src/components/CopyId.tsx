import { ActionIcon, Tooltip } from '@mantine/core'
import { useClipboard } from '@mantine/hooks'
import { t } from '../i18n'
import { Icon } from './Icon'

/** A name that can be copied. */
export function CopyId({ text }: { text: string }) {
  const { copy, copied } = useClipboard({ timeout: 1500 })
  const label = copied ? t('copied') : t('action.copy', { what: text })
  return (
    <Tooltip label={label} withinPortal>
      <ActionIcon size={24} aria-label={label} onClick={() => copy(text)}>
        <Icon name={copied ? 'check' : 'copy'} size={13} />
      </ActionIcon>
    </Tooltip>
  )
}
